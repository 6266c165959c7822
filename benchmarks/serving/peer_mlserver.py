"""The same model for MLServer, which finds it by a `model-settings.json`; PEER_MODEL is the packaged model's folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from polarity.families.packaging import load_predictor


class Sentiment(MLModel):  # type: ignore[misc]  # it is not in the environment that checks types
    _predictor: Any

    async def load(self) -> bool:
        self._predictor = load_predictor(Path(os.environ["PEER_MODEL"]))
        self._predictor.warm_up()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        texts = StringCodec.decode_input(payload.inputs[0])
        labels = self._predictor.labels
        sentiments = [labels[row.index(max(row))] for row in self._predictor(texts).tolist()]
        return InferenceResponse(model_name=self.name, outputs=[StringCodec.encode_output("sentiment", sentiments)])
