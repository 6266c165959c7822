"""Where a Bento's model came from: which run asked for it, on which data and with which code.

A Bento's version follows from its model and its sources, so a run may find the Bento that another one built. Its files
are the same, but its provenance is that of the run that asked for it last; a promoted Bento keeps that of the run that
promoted it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from polarity.bento import bentoml_store
from polarity.bento.store import home, model_folder
from polarity.errors import ArtifactError
from polarity.inference.package import ModelManifest


@dataclass(frozen=True)
class Provenance:
    """The origin of a Bento's model: facts for its card (`run_id`, metrics ...), the data's digest and the commit."""

    card: Mapping[str, Any] = field(default_factory=dict)
    data_digest: str | None = None
    git_commit: str = ""


def write_provenance(tag: str, provenance: Provenance) -> None:
    """Write a provenance into a Bento: into its model's card and into its BentoML labels.

    Raises
    ------
    ArtifactError
        If there is no such Bento.
    """
    folder = model_folder(tag)
    manifest = ModelManifest.read(folder, check=False)
    # a new file: the present one may be a hard link, shared with other Bentos
    msgspec.structs.replace(
        manifest,
        card={**manifest.card, **provenance.card},
        data_digest=provenance.data_digest,
        git_commit=provenance.git_commit or None,
    ).write(folder)
    labels = {"data_digest": provenance.data_digest or "", "git_commit": provenance.git_commit}
    _relabel(tag, {label: value for label, value in labels.items() if value})


def _relabel(tag: str, labels: Mapping[str, str]) -> None:
    bento = bentoml_store.find(home(), tag)
    if bento is None:
        raise ArtifactError(f"The Bento {tag!r} is not in the Bento store '{home()}'. Package it again.")
    target = Path(bento.path) / "bento.yaml"
    draft = target.with_name(f".bento-{os.getpid()}.yaml")
    bentoml_store.describe_as(bento, draft, tag, bento.creation_time, labels)
    draft.replace(target)
