"""BentoML as in its guide: one service, one batchable method. PEER_MODEL is the folder of the packaged model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bentoml

from polarity.families.packaging import load_predictor


@bentoml.service(name="plain", workers=1)
class Plain:
    """Classifies lists of texts."""

    def __init__(self) -> None:
        self.predictor = load_predictor(Path(os.environ["PEER_MODEL"]))
        self.predictor.warm_up()

    @bentoml.api(batchable=True, max_batch_size=64)  # type: ignore[untyped-decorator]
    def predict(self, texts: list[str]) -> list[dict[str, Any]]:
        """Return one prediction per text."""
        answers: list[dict[str, Any]] = []
        for row in self.predictor(texts).tolist():
            probabilities = dict(zip(self.predictor.labels, row, strict=True))
            sentiment = max(probabilities, key=probabilities.__getitem__)
            answers.append({"sentiment": sentiment, "score": probabilities[sentiment], "probabilities": probabilities})
        return answers
