"""Scoring a file, compared with the bare packaged model, and with two workers compared with one.

    python -m benchmarks.scoring [MODEL] [--tweets FILE] [--rows 5000000]

MODEL is any value of `python -m flows.score --model` (default: the champion). Tweets are sampled with replacement
from FILE (default: the generated corpus) into CSV files: one worker scores a fifth of them, two workers score all.
The bare model gets texts already in memory, in several batch sizes. Every process has one thread. Memory is the peak
sum of the resident sets of the reading and the scoring processes, so shared pages count more than once.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from benchmarks.processes import resident_bytes
from benchmarks.results import machine, table, write
from polarity.config.sections import DataConfig
from polarity.data.corpus import generate_tweets
from polarity.data.sources import read_tweets
from polarity.families.packaging import load_predictor
from polarity.pipeline.config import ScoreConfig
from polarity.registry.stored_model import find_model
from polarity.scoring import scoring
from polarity.scoring.pool import process_pool

MODEL_SHARE, TWO_WORKERS, MEMORY_GIB = 0.90, 1.7, 2.0  # limits
BATCHES = (64, 512, 4096)
MODEL_S = 10.0
LABELS = ("negative", "positive")
SEED = 19
_ROWS_PER_WRITE = 100_000


def write_sample(tweets: Path | None, rows: int, file: Path) -> None:
    """Write `rows` tweets, sampled with replacement, to `file`."""
    if tweets is None:
        source = generate_tweets(rows=50_000, labels=LABELS, seed=SEED)
    else:
        source = read_tweets(DataConfig(path=tweets), LABELS).table
    texts = source.column("text").drop_null()
    random = np.random.default_rng(SEED)
    with pa_csv.CSVWriter(file, pa.schema([("text", pa.string())])) as writer:
        for start in range(0, rows, _ROWS_PER_WRITE):
            picked = random.integers(0, len(texts), min(_ROWS_PER_WRITE, rows - start))
            drawn = texts.take(picked).combine_chunks()
            writer.write_table(pa.table({"text": drawn}))


def bare_model_rates(folder: Path, file: Path) -> dict[int, float]:
    """Measure texts per second by batch size, on one thread.

    Rows are not repeated if the file has enough of them, because models cache recently seen words.
    """
    texts = pa_csv.read_csv(file, parse_options=pa_csv.ParseOptions(newlines_in_values=True))["text"].to_pylist()
    predictor = load_predictor(folder, threads=1)
    predictor.warm_up()
    rates, seen = {}, 0
    for size in BATCHES:
        started, done = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - started) < MODEL_S:
            at = (seen + done) % max(1, len(texts) - size)
            done += len(predictor(texts[at : at + size]))
        rates[size], seen = done / elapsed, seen + done
    return rates


@contextmanager
def record_peak_memory(peaks_gib: list[float], pid: int) -> Iterator[None]:
    """Append the peak memory of a process and its children during the block, in GiB."""
    stopped, peak = threading.Event(), 0

    def watch() -> None:
        nonlocal peak
        while not stopped.wait(0.2):
            peak = max(peak, resident_bytes(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        stopped.set()
        watcher.join()
        peaks_gib.append(peak / 2**30)


def score(file: Path, model: Path, workers: int, folder: Path) -> dict[str, Any]:
    """Score the file, and time it from opening the file to the last shard, including loading the model.

    The model is named by its folder, to exclude the time that MLflow takes to open its registry.
    """
    config = ScoreConfig.model_validate(
        {"data": {"path": file}, "model": str(model), "workers": workers, "output": folder / f"scores-{workers}"}
    )
    memory: list[float] = []
    with record_peak_memory(memory, os.getpid()):
        started = time.perf_counter()
        with process_pool(workers, cores=workers) as pool:
            tally = scoring.score(scoring.open_scoring(config, find_model(str(model))), pool=pool)
        seconds = time.perf_counter() - started
    return {
        "workers": workers,
        "rows": tally.rows,
        "seconds": seconds,
        "rows_per_s": tally.rows / seconds,
        "peak_gib": memory[0],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scoring", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="champion")
    parser.add_argument("--tweets", type=Path)
    parser.add_argument("--rows", type=int, default=5_000_000)
    options = parser.parse_args(arguments)
    described, model = machine(), find_model(options.model)
    with (
        tempfile.TemporaryDirectory() as name,
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1) as isolated,
    ):
        files = {workers: Path(name, f"tweets-{workers}.csv") for workers in (1, 2)}
        write_sample(options.tweets, options.rows // 5, files[1])
        write_sample(options.tweets, options.rows, files[2])
        rates = isolated.submit(bare_model_rates, model.folder, files[1]).result()
        found = [
            isolated.submit(score, file, model.folder, workers, Path(name)).result() for workers, file in files.items()
        ]
    best = max(rates.values())
    for one in found:
        one["of_the_models_best"] = one["rows_per_s"] / (best * one["workers"])
    times = found[1]["rows_per_s"] / found[0]["rows_per_s"]
    rows = [
        [
            str(one["workers"]), f"{one['rows']:,}", f"{one['seconds']:.0f}", f"{one['rows_per_s']:,.0f}",
            f"{one['of_the_models_best']:.2f}", f"{one['peak_gib']:.2f}",
        ]
        for one in found
    ]  # fmt: skip
    head = ["single-threaded workers", "rows", "seconds", "rows/s", "share of the model's best, per worker", "peak GiB"]
    batches = table(["batch", "texts/s"], [[str(size), f"{rate:,.0f}"] for size, rate in rates.items()])
    write(
        f"scoring-{model.manifest.name}",
        f"# Scoring with '{model.manifest.name}' ({model.manifest.family}, {model.manifest.precision})\n\n"
        f"{described}. Tweets sampled from {options.tweets.name if options.tweets else 'the generated corpus'}; one "
        f"CSV file per number of workers.\n\n{table(head, rows)}\n\n"
        f"Two workers are {times:.2f} times as fast as one. Limits: at least {MODEL_SHARE:g} of the "
        f"model's best, at least {TWO_WORKERS:g} times, at most {MEMORY_GIB:g} GiB.\n\n"
        f"The bare model, on one thread:\n\n{batches}\n",
        {"machine": described, "model": model.title, "model_alone": rates, "scorings": found, "times": times},
    )


if __name__ == "__main__":
    main()
