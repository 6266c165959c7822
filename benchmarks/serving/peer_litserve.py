"""LitServe with the same model; run in the environment of benchmarks/requirements-servers.lock.

PEER_MODEL is the packaged model's folder, PEER_WORKERS the number of worker processes, PEER_PORT the port.
"""

from __future__ import annotations

import os
from pathlib import Path

import litserve

from benchmarks.serving.peer_answer import answer
from polarity.families.packaging import load_predictor


class Sentiment(litserve.LitAPI):  # type: ignore[misc]  # it is not in the environment that checks types
    def setup(self, device: str) -> None:
        self._predictor = load_predictor(Path(os.environ["PEER_MODEL"]))
        self._predictor.warm_up()

    def decode_request(self, request: dict[str, str]) -> str:
        return request["text"]

    def predict(self, texts: list[str]) -> list[list[float]]:
        rows: list[list[float]] = self._predictor(texts).tolist()
        return rows

    def encode_response(self, row: list[float]) -> dict[str, object]:
        return answer(self._predictor.labels, row)


if __name__ == "__main__":
    api = Sentiment(max_batch_size=64, batch_timeout=0.001)
    workers = int(os.environ["PEER_WORKERS"])
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=workers)
    server.run(host="127.0.0.1", port=int(os.environ["PEER_PORT"]), log_level="warning", generate_client_file=False)
