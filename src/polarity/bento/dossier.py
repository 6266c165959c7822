"""The papers of a model: what it is, what it learned from, how it was tested, and what let it through.

They are gathered by the run that makes the model (`flows.dossier`), and written as JSON and as a page into its Bento,
where GET /model shows them, and beside its version in MLflow. No tweet is quoted in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from polarity.bento.sbom import Material, bill_of_materials, licence_of, pinned
from polarity.config.settings import PROJECT
from polarity.inference.package import DOSSIER, DOSSIER_PAGE, ModelManifest, file_digest

_TEMPLATE = "dossier.html.j2"


def write_dossier(dossier: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write a dossier into a folder, as JSON and as a page; return the two files."""
    contents = {
        DOSSIER: msgspec.json.format(msgspec.json.encode(dossier), indent=1),
        DOSSIER_PAGE: render_dossier(dossier).encode(),
    }
    for name, content in contents.items():
        # a new file: the present one may be a hard link, shared with other Bentos
        draft = folder / f".{name}.draft"
        draft.write_bytes(content)
        draft.replace(folder / name)
    return [folder / name for name in contents]


def render_dossier(dossier: Mapping[str, Any]) -> str:
    """The dossier as a self-contained page."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    from polarity.config.page_policy import META_TAG
    from polarity.evaluation.report import FILTERS, SLICE_NAMES

    environment = Environment(
        loader=ChoiceLoader([PackageLoader("polarity.bento", "."), PackageLoader("polarity.evaluation", ".")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    by_licence: dict[str, list[str]] = {}
    for package, licence in dossier["licences"]["packages"].items():
        by_licence.setdefault(licence, []).append(package)
    return environment.get_template(_TEMPLATE).render(
        **dossier,
        policy=Markup(META_TAG),
        slice_names=SLICE_NAMES,
        by_licence=dict(sorted(by_licence.items(), key=lambda entry: (-len(entry[1]), entry[0]))),
    )


def for_another_image(
    dossier: Mapping[str, Any], manifest: ModelManifest, *, lock: str, precision: str, limit: str
) -> dict[str, Any]:
    """The dossier of a model that was packaged once more, for an image with other packages.

    Parameters
    ----------
    dossier : mapping
        What the training run has written about the model.
    manifest : ModelManifest
        Of the new package.
    lock : str
        Lock file of the image, relative to the project.
    precision : str
        Of the new package, in words.
    limit : str
        In how far the figures of the run hold for the new package; the first of the model's limits.
    """
    card = {**dossier["card"], "limits": [limit, *dossier["card"]["limits"]]}
    packages = pinned(PROJECT / lock)
    licences = {name: dossier["licences"]["packages"].get(name) or licence_of(name) for name in packages}
    described = next(one["modelCard"] for one in dossier["sbom"]["components"] if one["bom-ref"] == "model")
    materials = dossier["licences"]["materials"]
    return {
        **dossier,
        "model": {
            **dossier["model"],
            "precision": precision,
            "size_bytes": manifest.size_bytes,
            "digest": manifest.digest,
        },
        "card": card,
        "environment": {
            **dossier["environment"],
            "locks": {
                **dossier["environment"]["locks"],
                "served": {"file": lock, "sha256": file_digest(PROJECT / lock), "packages": packages},
            },
        },
        "licences": {"materials": materials, "packages": licences},
        "sbom": bill_of_materials(
            manifest.name,
            manifest.digest,
            materials=tuple(Material(one["kind"], one["name"], one["sha256"], one["licence"]) for one in materials),
            packages=packages,
            licences=licences,
            card={
                **described,
                "considerations": {**described["considerations"], "technicalLimitations": card["limits"]},
            },
        ),
    }
