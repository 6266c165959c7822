"""The bill of materials of a Bento in CycloneDX 1.6: the model, what it is made from, and its image's packages."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from polarity import __version__

UNKNOWN = "unknown"
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)
_CLASSIFIER = "License :: "
_LONGEST_NAME = 60
"""Some packages have the whole licence text where its name belongs."""


@dataclass(frozen=True)
class Material:
    """What a model was made from: the tweets, an encoder, word vectors.

    Attributes
    ----------
    kind : str
        `data` or `encoder`, or as the family's option is called.
    name : str
    digest : str
        The sha256 of its content; of several files, their digests in a row.
    licence : str
        In words; empty if not stated.
    """

    kind: str
    name: str
    digest: str
    licence: str


def pinned(lock: Path) -> dict[str, str]:
    """The packages of a lock file with their versions."""
    return dict(sorted(_PINNED.findall(lock.read_text())))


def licence_of(package: str) -> str:
    """The licence of a package as its metadata states it, or `unknown`; of packages that are installed here only."""
    try:
        found = metadata(package)
    except PackageNotFoundError:
        return UNKNOWN
    for field in ("License-Expression", "License"):
        value = (found[field] or "").strip() if field in found else ""
        if value and len(value) <= _LONGEST_NAME and "\n" not in value:
            return value
    names = [one.rpartition(" :: ")[2] for one in found.get_all("Classifier") or () if one.startswith(_CLASSIFIER)]
    return " AND ".join(names) or UNKNOWN


def bill_of_materials(
    name: str,
    digest: str,
    *,
    materials: tuple[Material, ...],
    packages: Mapping[str, str],
    licences: Mapping[str, str],
    card: Mapping[str, Any],
) -> dict[str, Any]:
    """Describe a Bento as a CycloneDX document.

    Parameters
    ----------
    name : str
        Of the model.
    digest : str
        The sha256 of the packaged model's content.
    materials : tuple of Material
    packages, licences : mapping
        Versions and licences of the image's packages by name.
    card : mapping
        The model card of the model's component, as CycloneDX defines it (`modelCard`).
    """
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    def licensed(licence: str) -> list[Any]:
        return [LicenseFactory().make_from_string(licence)] if licence and licence != UNKNOWN else []

    service = Component(name="polarity", version=__version__, type=ComponentType.APPLICATION, bom_ref="polarity")
    model = Component(
        name=name,
        version=digest[:12],
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="model",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
    )
    made_from = [
        Component(
            name=one.name,
            version=one.digest[:12],
            type=ComponentType.DATA if one.kind == "data" else ComponentType.MACHINE_LEARNING_MODEL,
            bom_ref=one.kind,
            licenses=licensed(one.licence),
            properties=[Property(name="polarity:kind", value=one.kind), Property(name="sha256", value=one.digest)],
        )
        for one in materials
    ]
    libraries = [
        Component(
            name=package,
            version=version,
            type=ComponentType.LIBRARY,
            bom_ref=f"pkg:pypi/{package}@{version}",
            purl=PackageURL("pypi", name=package, version=version),
            licenses=licensed(licences[package]),
        )
        for package, version in packages.items()
    ]
    bom = Bom(components=[model, *made_from, *libraries])
    bom.metadata.component = service
    bom.register_dependency(service, [model, *libraries])
    bom.register_dependency(model, made_from)
    document: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    # the library has no model cards yet
    for component in document["components"]:
        if component["bom-ref"] == "model":
            component["modelCard"] = dict(card)
    return document
