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
from polarity.bento.dossier import write_dossier
from polarity.bento.signing import changing
from polarity.bento.store import bento_folder, home, model_folder
from polarity.errors import ArtifactError
from polarity.inference.package import DRIFT_REFERENCE, ModelManifest


@dataclass(frozen=True)
class Provenance:
    """The origin of a Bento's model: facts for its card (`run_id`, metrics ...), the data's digest and the commit.

    `dossier` is what `polarity.bento.dossier` writes; empty for versions of before. `drift_reference` is the content of
    the file that drift is judged by (`polarity.watch.drift`); empty if the run had too few held-out tweets.
    """

    card: Mapping[str, Any] = field(default_factory=dict)
    data_digest: str | None = None
    git_commit: str = ""
    dossier: Mapping[str, Any] = field(default_factory=dict)
    drift_reference: bytes = b""


def write_provenance(tag: str, provenance: Provenance) -> None:
    """Write a provenance into a Bento: into its model's card and into its BentoML labels.

    Raises
    ------
    ArtifactError
        If there is no such Bento.
    ConfigurationError
        If it is signed, and there is no key to sign it again.
    """
    folder = model_folder(tag)
    manifest = ModelManifest.read(folder, check=False)
    labels = {"data_digest": provenance.data_digest or "", "git_commit": provenance.git_commit}
    with changing(bento_folder(tag), tag):
        # a new file: the present one may be a hard link, shared with other Bentos
        msgspec.structs.replace(
            manifest,
            card={**manifest.card, **provenance.card},
            data_digest=provenance.data_digest,
            git_commit=provenance.git_commit or None,
        ).write(folder)
        if provenance.dossier:
            write_dossier(provenance.dossier, folder)
        reference = folder / DRIFT_REFERENCE
        reference.unlink(missing_ok=True)  # it may be a hard link, shared with other Bentos
        if provenance.drift_reference:
            reference.write_bytes(provenance.drift_reference)
        _relabel(tag, {label: value for label, value in labels.items() if value})


def _relabel(tag: str, labels: Mapping[str, str]) -> None:
    bento = bentoml_store.find(home(), tag)
    if bento is None:
        raise ArtifactError(f"The Bento {tag!r} is not in the Bento store '{home()}'. Package it again.")
    target = Path(bento.path) / "bento.yaml"
    draft = target.with_name(f".bento-{os.getpid()}.yaml")
    bentoml_store.describe_as(bento, draft, tag, bento.creation_time, labels)
    draft.replace(target)
