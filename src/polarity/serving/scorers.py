"""How each family turns repaired texts into logits when it serves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from polarity.errors import ArtifactError
from polarity.serving.package import ModelManifest
from polarity.serving.tfidf import TfidfModel


class Scorer(Protocol):
    """A loaded model without its softmax."""

    def logits(self, texts: Sequence[str]) -> npt.NDArray[np.floating[Any]]:
        """Logits of shape (n_texts, n_labels) for repaired texts; at least one text."""
        ...


def load_scorer(folder: Path, manifest: ModelManifest, *, threads: int | None) -> Scorer:
    """The scorer of the manifest's family.

    Raises
    ------
    ArtifactError
        If no scorer reads that family.
    """
    match manifest.family:
        case "logistic":
            return TfidfModel.load(folder)
    raise ArtifactError(f"'{folder}' holds a model of family '{manifest.family}', which this version cannot serve.")
