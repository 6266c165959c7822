"""Logistic regression on ten times the tweets: does its time grow linearly, and does it fit into memory?

    python -m benchmarks.training.scale [--tweets FILE] [--rows 160000 1600000]

Tweets are sampled with replacement from FILE (default: the generated corpus) and perturbed, so that the number of
distinct words and word pairs keeps growing as it does in real tweets. Each fit is the project's own and runs in a
separate process; its memory is the peak resident set reported by the kernel.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.results import machine, table, write
from polarity.config.sections import DataConfig
from polarity.data.corpus import generate_tweets
from polarity.data.sources import read_tweets
from polarity.families.logistic import LogisticConfig
from polarity.pipeline.isolation import run_isolated
from polarity.text.cleaning import repair

LABELS = ("negative", "positive")
VALIDATION_ROWS = 20_000
MEMORY_GIB, GROWTH = 6.0, 1.1  # limits
SEED = 17


def read_source(tweets: Path | None) -> pd.DataFrame:
    """Return the real or the generated tweets, in the columns `text` and `label`."""
    if tweets is None:
        rows = generate_tweets(rows=50_000, labels=LABELS, seed=SEED)
    else:
        rows = read_tweets(DataConfig(path=tweets), LABELS).table
    frame: pd.DataFrame = rows.to_pandas()
    return frame.loc[frame["label"].isin(LABELS) & frame["text"].notna(), ["text", "label"]]


def perturb(text: str, other: str, draw: random.Random) -> str:
    """Replace one word by a word of another tweet, elongate one, and drop one."""
    words, others = text.split() or [text], other.split() or [other]
    words[draw.randrange(len(words))] = draw.choice(others)
    stretched = draw.randrange(len(words))
    words[stretched] += words[stretched][-1] * draw.randrange(4)
    if len(words) > 3:
        del words[draw.randrange(len(words))]
    return " ".join(words)


def sample_tweets(frame: pd.DataFrame, rows: int, *, seed: int) -> pd.DataFrame:
    """Sample `rows` tweets with replacement, and perturb each."""
    draw = random.Random(seed)
    texts, labels = frame["text"].tolist(), frame["label"].tolist()
    picked = [draw.randrange(len(texts)) for _ in range(rows)]
    return pd.DataFrame(
        {
            # repaired as in `prepare` and in every served model
            "text": [repair(perturb(texts[one], texts[draw.randrange(len(texts))], draw)) for one in picked],
            "label": [labels[one] for one in picked],
        }
    )


def measure(frame: pd.DataFrame, rows: int, options: LogisticConfig) -> dict[str, Any]:
    """Fit on `rows` tweets in a separate process, and return its figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for split, size, seed in (("train", rows, SEED), ("validation", VALIDATION_ROWS, SEED + 1)):
            sample_tweets(frame, size, seed=seed).to_parquet(folder / f"{split}.parquet")
        job = {
            "name": "logistic",
            "family": "logistic",
            "section": options.model_dump(mode="json"),
            "seed": SEED,
            "labels": LABELS,
            "train": str(folder / "train.parquet"),
            "validation": str(folder / "validation.parquet"),
            "folder": str(folder),
        }
        run_isolated(
            "polarity.families.fit:fit_model", job, folder=folder / "process", timeout_s=3600, listen=lambda *_: None
        )
        fit = json.loads((folder / "fit.json").read_text())
    peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "rows": rows,
        "seconds": fit["train_seconds"],
        "peak_gib": peak_kib / 2**20,
        "ngrams": fit["history"]["notes"]["features"],
        "iterations": fit["history"]["notes"]["iterations"],
        "size_mb": fit["size_bytes"] / 1e6,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tweets", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[160_000, 1_600_000])
    parser.add_argument("--characters", action="store_true", help="also use character n-grams")
    options = parser.parse_args(arguments)
    described = machine()
    section = LogisticConfig() if options.characters else LogisticConfig(char_ngrams=None)
    frame = read_source(options.tweets)
    # each in a separate process, so that the peak memory of its children belongs to this fit alone
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        found = [pool.apply(measure, (frame, rows, section)) for rows in sorted(options.rows)]
    first = found[0]
    rows = []
    for one in found:
        growth = (one["seconds"] / first["seconds"]) / (one["rows"] / first["rows"])
        rows.append(
            [f"{one['rows']:,}", f"{one['seconds']:.0f}", f"{growth:.2f}", f"{one['peak_gib']:.2f}",
             f"{one['ngrams']:,}", str(one["iterations"]), f"{one['size_mb']:.0f}"]
        )  # fmt: skip
    head = [
        "rows",
        "seconds",
        "relative seconds per row",
        "peak GiB",
        "n-grams",
        "iterations",
        "packaged MB",
    ]
    kinds = "words and characters" if options.characters else "words"
    write(
        "logistic-scale",
        f"# Logistic regression on n-grams of {kinds}\n\n{described}. Tweets sampled from "
        f"{options.tweets.name if options.tweets else 'the generated corpus'} and perturbed. Limits: "
        f"{MEMORY_GIB:g} GiB, {GROWTH:g} times the seconds per row.\n\n{table(head, rows)}\n",
        {"machine": described, "fits": found},
    )


if __name__ == "__main__":
    main()
