"""mosec with the same model; run with its own arguments in the environment of benchmarks/requirements-servers.lock.

PEER_MODEL is the packaged model's folder, PEER_WORKERS the number of worker processes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
from mosec import Server, Worker

from benchmarks.serving.peer_answer import answer
from polarity.families.packaging import load_predictor


class Sentiment(Worker):  # type: ignore[misc]  # it is not in the environment that checks types
    def __init__(self) -> None:
        super().__init__()
        self._predictor = load_predictor(Path(os.environ["PEER_MODEL"]))
        self._predictor.warm_up()

    def deserialize(self, data: bytes) -> Any:
        return msgspec.json.decode(data)

    def serialize(self, data: Any) -> bytes:
        return msgspec.json.encode(data)

    def forward(self, data: list[dict[str, str]]) -> list[dict[str, object]]:
        rows = self._predictor([one["text"] for one in data]).tolist()
        return [answer(self._predictor.labels, row) for row in rows]


if __name__ == "__main__":
    server = Server()
    server.append_worker(Sentiment, num=int(os.environ["PEER_WORKERS"]), max_batch_size=64, max_wait_time=1)
    server.run()
