"""Do the estimates of the accuracy in production keep what they promise? A simulation on real tweets.

    python -m benchmarks.estimates [--tweets FILE] [--other FILE] [--part labels]

A logistic regression is trained on 60 % of FILE (the sample of Sentiment140) and answers the rest, the stream. Its true
accuracy on the stream is known here, so it can be counted how often an interval contains it.

With labels: in each repetition 10,000 answers are drawn from the stream with replacement, and 100 or 400 of them are
labelled (in expectation), by a random share or by the rule that prefers unsure answers. The stronger model is an
ensemble of the logistic regression with one on naive Bayes features; it is judged for the served model, and for a small
model of words on 20,000 tweets, to which it is superior by more. The ceilings follow from the proxy alone.

Without labels: in each repetition other tweets of the stream are the reference (5,000) and the window (1,000): tweets
as they come, mostly of one topic, of days and users the model has never seen (`random`, with a model of `head` and
`tail`), with a quarter of the labels inverted, or of another corpus (`--other`: Sanders, 2011, labelled by people).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.estimates.labels import (
    BUDGETS,
    SEED,
    ceilings,
    label_lines,
    label_verdicts,
    simulate_drifted_labels,
    simulate_labels,
)
from benchmarks.estimates.shifts import (
    INVERTED,
    WINDOW,
    calibration_error,
    shift_lines,
    shift_verdicts,
    simulate_shifts,
)
from benchmarks.estimates.stream import answered, fit_logistic, fit_models, read_frame, split, take
from benchmarks.results import machine, table, write
from polarity.config.settings import PROJECT
from polarity.text.words import KnownWords

DATA = PROJECT.parent / "shared" / "data"


def with_labels(frame: pd.DataFrame, other: pd.DataFrame, repetitions: int) -> tuple[str, dict[str, Any]]:
    """Return the tables and the figures of the estimates from labels."""
    train, validation, rest = split(frame)
    models = fit_models(train, validation)
    streams = {name: answered(rest, of, models.stronger) for name, of in models.served_ones.items()}
    references = {name: answered(validation, of).confidence for name, of in models.served_ones.items()}
    found = {
        name: {budget: simulate_labels(stream, references[name], budget, repetitions) for budget in BUDGETS}
        for name, stream in streams.items()
    }
    limits = {
        f"{name}, {proxy}": ceilings(stream, values)
        for name, stream in streams.items()
        for proxy, values in (("own confidence", stream.confidence), ("stronger model", stream.stronger))
    }
    random = np.random.default_rng([SEED, 4])
    window = take(streams["served"], random.choice(len(rest), WINDOW, replace=False))
    drifted_windows = {
        "a quarter of the labels inverted": replace(
            window, correct=window.correct ^ (random.random(WINDOW) < INVERTED)
        ),
        "another corpus": answered(other, models.served),
    }
    drifted = {
        name: simulate_drifted_labels(of, references["served"], repetitions) for name, of in drifted_windows.items()
    }
    accuracies = ", ".join(f"{name} model {of.accuracy:.1%}" for name, of in streams.items())
    text = "\n\n".join(
        [
            f"{repetitions:,} repetitions; stream of {len(rest):,} tweets; accuracy: {accuracies}",
            *(f"{name} model:\n\n{label_lines(of)}" for name, of in found.items()),
            "Ceilings:\n\n"
            + table(
                ["model, proxy", "correlation with correctness", "random share", "unsure preferred"],
                [
                    [name, f"{of['correlation']:.3f}", f"{of['random share']:.1%}", f"{of['unsure preferred']:.1%}"]
                    for name, of in limits.items()
                ],
            ),
            "Coverage from 100 labels, unsure preferred, of a drifted window:\n\n"
            + table(
                ["window", "labels alone", "own confidence"],
                [[name, *(f"{share:.1%}" for share in of.values())] for name, of in drifted.items()],
            ),
            *label_verdicts(found["served"], found["small"]),
        ]
    )
    keyed = {
        name: {budget: {"; ".join(cell): of for cell, of in cells.items()} for budget, cells in budgets.items()}
        for name, budgets in found.items()
    }
    return text, {"repetitions": repetitions, "estimates": keyed, "ceilings": limits, "drifted": drifted}


def without_labels(
    frame: pd.DataFrame, other: pd.DataFrame, repetitions: int, windows: int
) -> tuple[str, dict[str, Any]]:
    """Return the tables and the figures of the estimates without labels."""
    train, validation, rest = split(frame)
    served = fit_logistic(train, validation)
    known = KnownWords.of(train["text"])
    stream = answered(rest, served, known=known)
    undrifted = calibration_error(stream, repetitions)
    of_days = fit_logistic(train[train["block"] != "random"], validation[validation["block"] != "random"])
    of_random = rest["block"] == "random"
    before, after = (answered(rest[of_random == later], of_days, known=known) for later in (False, True))
    shifts = simulate_shifts(stream, (before, after), answered(other, served, known=known), windows)
    text = "\n\n".join(
        [
            f"CBPE on {repetitions:,} windows as they come: mean error "
            f"{undrifted['mean_absolute_error'] * 100:.2f} points, interval contains it in {undrifted['coverage']:.1%}",
            shift_lines(shifts),
            *shift_verdicts(undrifted, shifts),
        ]
    )
    return text, {"undrifted": undrifted, "shifts": shifts}


def main() -> None:
    """Print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tweets", type=Path, default=DATA / "sentiment140_sample.csv.gz")
    parser.add_argument("--other", type=Path, default=DATA / "sanders_full_corpus.csv.gz")
    parser.add_argument("--part", choices=["labels", "shifts"], help="run only this part; default: both")
    parser.add_argument("--repetitions", type=int, default=5000, help="with labels; a fifth of that for CBPE alone")
    parser.add_argument("--windows", type=int, default=10, help="for each topic; three times that for other shifts")
    options = parser.parse_args()
    start = machine()
    frame, other = read_frame(options.tweets), read_frame(options.other)
    parts = {
        "labels": lambda: with_labels(frame, other, options.repetitions),
        "shifts": lambda: without_labels(frame, other, options.repetitions // 5, options.windows),
    }
    for part in [options.part] if options.part else parts:
        text, figures = parts[part]()
        write(f"estimates-{part}", f"{start}\n\n{text}\n", {"machine": start, **figures})


if __name__ == "__main__":
    main()
