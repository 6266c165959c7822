"""What the peers answer: the same as this project's server, less what identifies the prediction and the model."""

from __future__ import annotations

from collections.abc import Sequence


def answer(labels: Sequence[str], row: Sequence[float]) -> dict[str, object]:
    """The answer to a text with these probabilities."""
    probabilities = dict(zip(labels, row, strict=True))
    sentiment = max(probabilities, key=probabilities.__getitem__)
    return {"sentiment": sentiment, "score": probabilities[sentiment], "probabilities": probabilities}
