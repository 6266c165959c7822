"""The interface of packaged models before the softmax, common to all families."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from polarity.inference.package import HALF_GRAPH, ModelManifest
from polarity.inference.placement import Placement
from polarity.text.tweets import FloatArray

GRAPH = "model.onnx"


class Scorer(Protocol):
    """A loaded model without its softmax."""

    def logits(self, texts: Sequence[str]) -> FloatArray:
        """Logits of shape (n_texts, n_labels) for repaired texts; at least one text."""
        ...


@runtime_checkable
class Additive(Protocol):
    """A scorer whose logits are sums over words."""

    def shares(self, text: str) -> FloatArray:
        """Contributions of shape (n_labels, 1 + n_words) for a repaired text: that of no word, then each word's."""
        ...


def graph_of(manifest: ModelManifest, placement: Placement) -> str:
    """The graph file to use for a placement: half precision on a GPU if the package has it."""
    return HALF_GRAPH if placement.kind == "gpu" and HALF_GRAPH in manifest.files else GRAPH
