"""What answers for a packaged model before the softmax, whatever its family."""

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
    """A scorer whose logits are sums over the words."""

    def shares(self, text: str) -> FloatArray:
        """Of shape (n_labels, 1 + n_words) for a repaired text: what no word adds, and what each does."""
        ...


def graph_of(manifest: ModelManifest, placement: Placement) -> str:
    """The file of the graph that suits a placement: half precision on a GPU, if the package has it."""
    return HALF_GRAPH if placement.kind == "gpu" and HALF_GRAPH in manifest.files else GRAPH
