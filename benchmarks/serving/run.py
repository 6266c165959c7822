"""A Bento compared with its peers and with the limits, under the same load on the same machine.

    python -m benchmarks.serving [MODEL_FOLDER | --random] [--device gpu] [--seconds 10] [--rounds 3]

The servers run in turn, for several rounds, with one worker process each; figures are medians. The table and the JSON
file go to benchmarks/results/. The default model is the champion's; --random uses a DistilBERT of the usual size with
random weights.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.processes import cpu_s, resident_bytes
from benchmarks.results import machine, table, write
from benchmarks.serving.arrivals import PATTERNS, run_arrivals
from benchmarks.serving.load import run_load
from benchmarks.serving.random_model import write_random_distilbert
from benchmarks.serving.servers import BATCHED, BENTO, PEER, UNRECORDED, Running, Server, servers
from polarity.bento.build import build
from polarity.bento.store import latest, model_folder
from polarity.data.corpus import generate_tweets
from polarity.families.packaging import load_predictor
from polarity.families.registry import family_named
from polarity.inference.package import ModelManifest
from polarity.inference.placement import Placement
from polarity.serving.rules import refuse
from polarity.serving.topology import gpus

CONNECTIONS = (1, 64)
# Texts per request, and connections, for servers that accept many texts at once.
BULK, BULK_CONNECTIONS = 500, 4
BATCHES = (1, 8, 64, 512)
# Open-loop rates, as shares of each server's own rate at 64 connections.
MODERATE, OVERLOAD = 0.5, 2.0
_GPU_MEMORY_BYTES = 4 * 2**30


def measure(server: Server, running: Running, bodies: Path, bulk: Path, seconds: float) -> list[dict[str, Any]]:
    """Run every load on one server, after a short warm-up. `requests_per_s` counts single texts."""
    url, rows, rate = running.url + server.route, [], 0.0
    run_load(url, bodies, connections=16, seconds=1.0)
    for connections in CONNECTIONS:
        before = cpu_s(running.pid)
        load = run_load(url, bodies, connections=connections, seconds=seconds)
        used_s = cpu_s(running.pid) - before
        answers = sum(load.statuses.values())
        rate = load.requests_per_s
        row = asdict(load) | {"load": f"{connections} connections", "offered_per_s": None}
        rows.append(row | {"cpu_s_per_1000": 1000 * used_s / answers, "errors": load.broken + _errors(load.statuses)})
    for pattern, share in ((PATTERNS[0], MODERATE), (PATTERNS[1], MODERATE), (PATTERNS[0], OVERLOAD)):
        before = cpu_s(running.pid)
        arrivals = run_arrivals(url, bodies, rate=share * rate, pattern=pattern, seconds=seconds)
        used_s = cpu_s(running.pid) - before
        answers = max(1, sum(arrivals.statuses.values()))
        row = asdict(arrivals) | {
            "load": f"{pattern}, {share:g} of its rate",
            "requests_per_s": arrivals.answered_per_s,
        }
        errors = arrivals.unanswered + _errors(arrivals.statuses)
        rows.append(row | {"cpu_s_per_1000": 1000 * used_s / answers, "errors": errors})
    if server.bulk_route:
        before = cpu_s(running.pid)
        load = run_load(running.url + server.bulk_route, bulk, connections=BULK_CONNECTIONS, seconds=seconds)
        texts = BULK * load.statuses.get("200", 0)
        row = asdict(load) | {
            "load": f"{BULK} texts per request, {BULK_CONNECTIONS} connections",
            "offered_per_s": None,
        }
        row |= {"requests_per_s": texts / load.seconds, "errors": load.broken + _errors(load.statuses)}
        rows.append(row | {"cpu_s_per_1000": 1000 * (cpu_s(running.pid) - before) / max(1, texts)})
    memory = resident_bytes(running.pid) / 1e6
    return [row | {"server": server.name, "memory_mb": memory} for row in rows]


def _errors(statuses: dict[str, int]) -> int:
    """Count the responses that are neither 200 nor a refusal under load."""
    return sum(count for status, count in statuses.items() if status not in ("200", "429", "503", "504"))


def bare_model_rates(model: Path, texts: Sequence[str], placement: Placement) -> list[dict[str, Any]]:
    """Measure texts per second of the bare model, by batch size."""
    predictor = load_predictor(model, placement=placement)
    predictor.warm_up()
    found = []
    for size in BATCHES:
        started, done = time.perf_counter(), 0
        while done < len(texts) and time.perf_counter() - started < 5.0:
            predictor(texts[done : done + size])
            done += size
        rate = min(done, len(texts)) / (time.perf_counter() - started)
        found.append({"precision": predictor.precision, "batch": size, "texts_per_s": rate})
    return found


def tensorflow_import_s() -> float:
    """Measure the seconds of importing TensorFlow alone, the second time, when its files are in the page cache."""
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import tensorflow"], check=True, stderr=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    return seconds[-1]


def ratios(summary: list[dict[str, Any]], limit: list[dict[str, Any]]) -> list[list[str]]:
    """Compare the Bento with its peers and the limits; return one row per comparison."""
    found = {(row["server"].removesuffix(", tf.function"), row["load"]): row for row in summary}
    others = (PEER, UNRECORDED, BATCHED)
    pairs = [(f"{connections} connections", other) for connections in CONNECTIONS for other in others]
    rows = [
        [
            f"{load}, compared with {other}",
            f"{bento['requests_per_s'] / peer['requests_per_s']:.2f} times the texts/s",
            f"{bento['p50_ms'] / peer['p50_ms']:.2f} of its p50",
            f"{bento['p99_ms'] / peer['p99_ms']:.2f} of its p99",
        ]
        for load, other in pairs
        if (bento := found.get((BENTO, load))) and (peer := found.get((other, load)))
    ]
    best = max(row["texts_per_s"] for row in limit)
    rows += [
        [f"{row['load']}, compared with the bare model", f"{row['requests_per_s'] / best:.2f} of its best", "", ""]
        for row in summary
        if row["server"] == BENTO and "connections" in row["load"]
    ]
    return rows


def summarise(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the medians over several rounds, and the sum of the errors."""
    numbers = ("requests_per_s", "offered_per_s", "p50_ms", "p95_ms", "p99_ms", "cpu_s_per_1000", "memory_mb")
    medians = {
        name: None if rounds[0][name] is None else statistics.median(row[name] for row in rounds) for name in numbers
    }
    refused = sum(row["statuses"].get(status, 0) for row in rounds for status in ("429", "503", "504"))
    answers = sum(sum(row["statuses"].values()) for row in rounds)
    return {
        **{name: rounds[0][name] for name in ("server", "load")},
        **medians,
        "refused_share": refused / max(1, answers),
        "errors": sum(row["errors"] for row in rounds),
    }


def load_table(rows: list[dict[str, Any]]) -> str:
    """Format a table of every server under every load."""
    head = ["load", "server", "texts/s", "p50 ms", "p95 ms", "p99 ms", "refused", "errors", "CPU s per 1,000", "MB"]
    order = list(dict.fromkeys(row["load"] for row in rows))
    return table(
        head,
        [
            [
                row["load"], row["server"], f"{row['requests_per_s']:,.0f}", f"{row['p50_ms']:.2f}",
                f"{row['p95_ms']:.1f}", f"{row['p99_ms']:.1f}", f"{row['refused_share']:.1%}", str(row["errors"]),
                f"{row['cpu_s_per_1000']:.2f}", f"{row['memory_mb']:.0f}",
            ]
            for row in sorted(rows, key=lambda row: order.index(row["load"]))
        ],
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, nargs="?", help="folder of a packaged model; default: the champion's")
    parser.add_argument("--random", action="store_true", help="use a DistilBERT of the usual size with random weights")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="device of the Bento (default: cpu)")
    parser.add_argument("--seconds", type=float, default=10.0, help="duration of each load (default: 10)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements per server (default: 3)")
    parser.add_argument("--only", help="measure only servers whose name contains this")
    options = parser.parse_args()
    if options.device == "gpu" and not gpus():
        sys.exit("No GPU is available to this process; --device gpu needs one, and bentos/requirements-gpu.lock.")
    with tempfile.TemporaryDirectory() as folder:
        model = write_random_distilbert(Path(folder, "model")) if options.random else options.model or default_model()
        compare(model, options)


def compare(model: Path, options: argparse.Namespace) -> None:
    """Measure all servers with one packaged model, and write the table and the figures."""
    manifest, described = ModelManifest.read(model), machine()
    rows = generate_tweets(rows=3000, labels=manifest.labels, seed=11).to_pylist()
    texts = [row["text"] for row in rows if refuse(row["text"]) is None]
    neural = family_named(manifest.family).traits.gpu
    placement = Placement(options.device, memory_bytes=_GPU_MEMORY_BYTES)
    limit = bare_model_rates(model, texts, placement)
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    ready: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        tag = build(model)
        chosen = servers(
            model,
            tag,
            neural=neural and manifest.family != "bilstm",
            log=Path(folder) / "log.db",
            POLARITY_DEVICE=options.device,
        )
        for _ in range(options.rounds):
            for server in chosen:
                if options.only and options.only not in server.name:
                    continue
                bodies = Path(folder) / "bodies.jsonl"
                bodies.write_text(server.bodies(texts))
                bulk = Path(folder) / "bulk.jsonl"
                bulk.write_text("".join(json.dumps({"texts": some}) + "\n" for some in _bulk_batches(texts)))
                started = time.perf_counter()
                with server.start() as running:
                    ready.setdefault(server.name, []).append(time.perf_counter() - started)
                    for row in measure(server, running, bodies, bulk, options.seconds):
                        found.setdefault((row["server"], row["load"]), []).append(row)
    summary = [summarise(rounds) for rounds in found.values()]
    name = f"serving-{manifest.name}-{options.device}"
    starts = {name: statistics.median(seconds) for name, seconds in ready.items()} | {
        "importing TensorFlow, no server": tensorflow_import_s()
    }
    limits = [[row["precision"], str(row["batch"]), f"{row['texts_per_s']:,.0f}"] for row in limit]
    compared = ratios(summary, limit)
    text = (
        f"# Serving '{manifest.name}' ({manifest.family}, {manifest.precision}) on {options.device}\n\n"
        f"{described}. One worker process per server; one text per request unless stated otherwise; "
        f"{options.rounds} rounds of {options.seconds:g} s.\n\n{load_table(summary)}\n\n"
        f"{BENTO[0].upper()}{BENTO[1:]}:\n\n{table(['', 'throughput', 'p50', 'p99'], compared)}\n\n"
        f"The bare model:\n\n{table(['precision', 'batch', 'texts/s'], limits)}\n\n"
        "Seconds from process start to the first response:\n\n"
        f"{table(['server', 'seconds'], [[name, f'{seconds:.1f}'] for name, seconds in starts.items()])}\n"
    )
    figures = {"model": manifest.name, "machine": described, "rows": summary, "model_alone": limit, "ready_s": starts}
    write(name, text, figures)


def _bulk_batches(texts: list[str]) -> list[list[str]]:
    return [texts[start : start + BULK] for start in range(0, len(texts) - BULK + 1, BULK)]


def default_model() -> Path:
    tag = latest()
    if tag is None:
        sys.exit("There is no champion yet; run `make demo`, or pass the folder of a packaged model.")
    return model_folder(tag)
