"""The usual alternative: FastAPI, calling the model once per request. PEER_MODEL is the packaged model's folder."""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.serving.peer_answer import answer
from polarity.families.packaging import load_predictor

predictor = load_predictor(Path(os.environ["PEER_MODEL"]))
predictor.warm_up()
app = FastAPI()


class Tweet(BaseModel):
    text: str


@app.post("/predict")
def predict(tweet: Tweet) -> dict[str, object]:
    return answer(predictor.labels, predictor([tweet.text])[0].tolist())
