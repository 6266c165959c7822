"""A Bento beside its peer, under the same load on the same machine.

    python -m benchmarks.serving.run MODEL_FOLDER [--seconds 10] [--rounds 3]

The servers take turns, several rounds, one worker process each; the table has
the medians. It is written as JSON too, to benchmarks/serving.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.serving.load import Load, put_load
from polarity.data.corpus import generate_tweets
from polarity.packaging import bento
from polarity.packaging.bento_server import free_port, served, stop
from polarity.packaging.bento_store import bento_folder
from polarity.serving.predictor import Predictor

RESULTS = Path(__file__).parents[1] / "serving.json"
CONNECTIONS = (1, 64)


@contextmanager
def peer(model: Path) -> Iterator[tuple[str, int]]:
    """FastAPI and uvicorn with the model, one worker."""
    port = free_port()
    arguments = ["-m", "uvicorn", "benchmarks.serving.peer:app", "--port", str(port), "--no-access-log"]
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, "PEER_MODEL": str(model)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                httpx.get(url, trust_env=False)
                break
            except httpx.HTTPError:
                time.sleep(0.1)
        yield url, process.pid
    finally:
        stop(process)


@contextmanager
def bento_server(tag: str) -> Iterator[tuple[str, int]]:
    """The Bento as `bentoml serve` runs it."""
    with served(bento_folder(tag)) as server:
        yield server.url, server.process.pid


def cpu_s(pid: int) -> float:
    """Processor seconds of a process and its children so far."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def measure(url: str, pid: int, bodies: Path, seconds: float) -> list[dict[str, Any]]:
    """One load for each number of connections, after a short one to warm up."""
    rows = []
    put_load(f"{url}/predict", bodies, connections=16, seconds=1.0)
    for connections in CONNECTIONS:
        before = cpu_s(pid)
        load = put_load(f"{url}/predict", bodies, connections=connections, seconds=seconds)
        answered = sum(load.statuses.values())
        rows.append({"load": load, "cpu_ms": 1000 * (cpu_s(pid) - before) / answered})
    return rows


def model_limit(model: Path, texts: list[str]) -> dict[int, float]:
    """Texts a second of the model alone, by batch size."""
    predictor = Predictor.load(model)
    predictor.warm_up()
    limit = {}
    for size in (1, 64):
        started = time.perf_counter()
        for start in range(0, len(texts), size):
            predictor(texts[start : start + size])
        limit[size] = len(texts) / (time.perf_counter() - started)
    return limit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows = generate_tweets(rows=3000, labels=("negative", "positive"), seed=11).to_pylist()
    texts = [row["text"] for row in rows if row["text"] and not row["text"].isspace()]
    tag = bento.build(options.model)
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        bodies = Path(folder) / "bodies.jsonl"
        bodies.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        for _ in range(options.rounds):
            for name, server in (("peer", peer(options.model)), ("bento", bento_server(tag))):
                with server as (url, pid):
                    for row in measure(url, pid, bodies, options.seconds):
                        found.setdefault((name, row["load"].connections), []).append(row)
    table = [summarise(name, connections, rounds) for (name, connections), rounds in found.items()]
    limit = model_limit(options.model, texts)
    print(f"{'server':8} {'connections':>11} {'requests/s':>11} {'p50 ms':>8} {'p99 ms':>8} {'CPU ms/request':>15}")
    for row in table:
        print(
            f"{row['server']:8} {row['connections']:11} {row['requests_per_s']:11.0f} {row['p50_ms']:8.2f} "
            f"{row['p99_ms']:8.2f} {row['cpu_ms']:15.3f}"
        )
    print("the model alone, texts/s by batch size:", {size: round(rate) for size, rate in limit.items()})
    RESULTS.write_text(json.dumps({"bento": tag, "rows": table, "model_texts_per_s": limit}, indent=1) + "\n")


def summarise(name: str, connections: int, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The medians of several rounds, and everything that was not a 200."""
    loads: list[Load] = [row["load"] for row in rounds]
    medians = {
        field: statistics.median(getattr(load, field) for load in loads)
        for field in ("requests_per_s", "p50_ms", "p95_ms", "p99_ms")
    }
    failed = sum(count for load in loads for status, count in load.statuses.items() if status != "200")
    return {
        "server": name,
        "connections": connections,
        **medians,
        "cpu_ms": statistics.median(row["cpu_ms"] for row in rounds),
        "not_200": failed + sum(load.broken for load in loads),
    }


if __name__ == "__main__":
    main()
