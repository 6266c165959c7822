"""What a takeover costs the clients of a served champion, and what mirroring costs it.

    python -m benchmarks.takeovers [--moves 10] [--rounds 10]

Two logistic regressions are trained on generated tweets and packaged. While requests arrive at half of the rate that
saturates the server, `sentiment:latest` moves from one to the other and back. What counts: requests without an answer,
and for how long the p99 is more than twice the usual. Then a second server of the same Bento is set as challenger, and
the saturating rate is measured with no text mirrored and with all of them, in turns. The champion's processes have half
of the cores for that, the challenger and the load generator the others.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np

from benchmarks.processes import cpu_s, family
from benchmarks.results import machine, table, write
from benchmarks.serving.arrivals import run_arrivals
from benchmarks.serving.load import run_load
from polarity.bento import store
from polarity.bento.build import build
from polarity.bento.server import BentoServer, served
from polarity.data.corpus import generate_tweets
from polarity.families.registry import family_of
from polarity.record.answer import Challenge
from polarity.record.challenge import ChallengeSet, set_challenge
from polarity.record.options import RecordOptions
from polarity.record.store import RecordStore
from polarity.serving.rules import refuse
from polarity.text.cleaning import repair
from polarity.text.tweets import Tweets

LABELS = ("negative", "positive")
BETWEEN_MOVES_S = 10.0
CONNECTIONS = 64


def package(folder: Path, seed: int) -> str:
    """Train a logistic regression on generated tweets, and build its Bento."""
    drawn = generate_tweets(rows=4000, labels=LABELS, seed=seed).to_pylist()
    rows = [row for row in drawn if row["label"] in LABELS and refuse(row["text"]) is None]
    tweets = Tweets(
        [repair(row["text"]) for row in rows], np.array([LABELS.index(row["label"]) for row in rows]), LABELS
    )
    family = family_of("logistic")
    fitted = family.classifier(family.models()["logistic"], name="logistic", seed=seed).fit(
        tweets, tweets, lambda *_, **__: None
    )
    return build(fitted.export(folder).folder)


def moves(server: BentoServer, candidates: list[str], bodies: Path, count: int) -> list[list[str]]:
    """Move the champion `count` times under load; return the rows of the table."""
    url = f"{server.url}/predict"
    rate = run_load(url, bodies, connections=CONNECTIONS, seconds=10.0).requests_per_s
    seconds = BETWEEN_MOVES_S * (count + 1)
    with ThreadPoolExecutor(1) as background:
        running = background.submit(run_arrivals, url, bodies, rate=rate / 2, pattern="poisson", seconds=seconds)
        for number in range(count):
            time.sleep(BETWEEN_MOVES_S)
            store.promote(candidates[(number + 1) % 2])
        arrivals = running.result()
    by_second = np.array(arrivals.p99_ms_by_second)
    # Starting the generator takes about a second, so a second before each move counts as its time, too.
    at = np.array([[int(BETWEEN_MOVES_S * (n + 1)) + d for d in range(-2, 4)] for n in range(count)])
    around = by_second[at]
    refused = np.array(arrivals.refused_by_second)
    other = np.delete(np.arange(len(by_second)), at.ravel())
    usual = float(np.nanmedian(by_second[other]))
    above = (around > 2 * usual).sum(axis=1)
    return [
        ["saturating rate, requests/s", f"{rate:,.0f}"],
        ["moves", str(count)],
        ["requests sent at half of it", f"{sum(arrivals.statuses.values()) + arrivals.unanswered:,}"],
        ["without an answer", str(arrivals.unanswered)],
        ["refused (429) a second, around the moves", f"{refused[at].mean():.1f}"],
        ["refused (429) a second, in the others", f"{refused[other].mean():.1f}"],
        ["answered with another status", str(sum(n for s, n in arrivals.statuses.items() if s not in ("200", "429")))],
        ["usual p99 of a second, ms", f"{usual:.1f}"],
        ["highest p99 of a second around a move, ms", f"{around.max():.1f}"],
        ["seconds around a move with more than twice the usual p99, most", str(above.max())],
        ["the same, over all moves", str(above.sum())],
        [
            "share of other seconds with more than twice the usual p99",
            f"{np.mean(by_second[other] > 2 * usual):.1%}",
        ],
    ]


def pin(server: BentoServer, cores: Sequence[int]) -> None:
    """Give all threads of a server's processes these cores."""
    for process in family(server.process.pid):
        for thread in process.threads():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(thread.id, cores)


def mirroring(
    champion: BentoServer, challenger: BentoServer, record: Path, bodies: Path, rounds: int
) -> list[list[str]]:
    """Measure the champion with no text mirrored and with all, in turns; return the rows of the table."""

    def challenge(share: float) -> None:
        book = RecordStore(RecordOptions(prediction_log=str(record)))
        set_challenge(book, ChallengeSet(Challenge(challenger.url, share), time.time(), "benchmark", ""))
        book.close()
        time.sleep(3.0)

    cores = sorted(os.sched_getaffinity(0))
    half = max(1, len(cores) // 2)
    pin(champion, cores[:half])
    pin(challenger, cores[half:] or cores)
    os.sched_setaffinity(0, cores[half:] or cores)  # the load generator inherits it
    rates, costs = [], []
    for _ in range(rounds):
        found = {}
        for share in (0.0, 1.0):
            challenge(share)
            before = cpu_s(champion.process.pid)
            load = run_load(f"{champion.url}/predict", bodies, connections=CONNECTIONS, seconds=4.0)
            found[share] = load.requests_per_s, (cpu_s(champion.process.pid) - before) / sum(load.statuses.values())
            assert set(load.statuses) == {"200"} and not load.broken, load
        rates.append(found[1.0][0] / found[0.0][0])
        costs.append(found[1.0][1] / found[0.0][1])
    return [
        [name, f"{statistics.median(values):.2f}", f"{min(values):.2f} to {max(values):.2f}"]
        for name, values in (("requests/s", rates), ("processor time of the champion per request", costs))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=10, help="how often the champion changes (default: 10)")
    parser.add_argument("--rounds", type=int, default=10, help="measurements of mirroring (default: 10)")
    options = parser.parse_args()
    described = machine()
    with tempfile.TemporaryDirectory(prefix="polarity-takeovers-") as name:
        folder = Path(name)
        os.environ["BENTOML_HOME"] = str(folder / "bentoml")
        candidates = [package(folder / str(seed), seed) for seed in (1, 2)]
        champion_tag = store.promote(candidates[0])
        texts = [row["text"] for row in generate_tweets(rows=3000, labels=LABELS, seed=11).to_pylist()]
        bodies, record = folder / "bodies.jsonl", folder / "predictions.db"
        bodies.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts if refuse(text) is None))
        environment = {"BENTOML_HOME": str(store.home()), "POLARITY_PREDICTION_LOG": str(record)}
        with served(f"{store.CHAMPION}:latest", environment=environment) as champion:
            moved = moves(champion, candidates, bodies, options.moves)
            with served(store.bento_folder(champion_tag)) as challenger:
                mirrored = mirroring(champion, challenger, record, bodies, options.rounds)
    text = (
        f"# Taking over, and mirroring\n\n{described}. A logistic regression, {CONNECTIONS} connections.\n\n"
        f"{table(['takeovers', ''], moved)}\n\n"
        f"{table(['all texts mirrored, compared with none', 'median', 'lowest to highest'], mirrored)}\n"
    )
    write("takeovers", text, {"machine": described, "moves": moved, "mirroring": mirrored})


if __name__ == "__main__":
    main()
