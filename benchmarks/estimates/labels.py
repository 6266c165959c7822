"""Estimates from labels, alone and with a proxy: how often their intervals contain the truth, and how long they are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmarks.estimates.stream import Floats, Stream
from benchmarks.estimates.tally import Figures, Tally
from benchmarks.results import table
from polarity.record.labelling import LabellingRule
from polarity.watch.expected_accuracy import ConfidenceCalibration
from polarity.watch.labelled_sample import LabelledSample, labels_only, prediction_powered

BUDGETS = (100, 400)
WINDOW = 10_000
COVERAGE = (0.935, 0.965)  # limits
SHORTER = {("random share", "own confidence"): 0.05, ("unsure preferred", "own confidence"): 0.09}
STRONGER_SHORTER = 0.15
SEED = 23

Cell = tuple[str, str, str]
"""How answers are drawn, the proxy, and the target."""
Budgets = Mapping[int, Mapping[Cell, Figures]]


def simulate_labels(stream: Stream, reference: Floats, budget: int, repetitions: int) -> dict[Cell, Figures]:
    """Return the figures by draw ('random share', ...), proxy ('labels alone', ...) and target."""
    random = np.random.default_rng([SEED, budget])
    rules = {
        "random share": LabellingRule.uniform(budget / WINDOW),
        "unsure preferred": LabellingRule.for_budget(budget / WINDOW, reference.tolist()),
    }
    inclusion = {
        draw: np.array([rule.probability(of) for of in stream.confidence.tolist()]) for draw, rule in rules.items()
    }
    tallies: dict[Cell, Tally] = {}
    for _ in range(repetitions):
        window = random.integers(len(stream), size=WINDOW)
        correct, luck = stream.correct[window], random.random(WINDOW)
        for draw in rules:
            probability = inclusion[draw][window]
            rows = np.flatnonzero(luck < probability)
            sample = LabelledSample(WINDOW, rows, probability[rows], correct[rows])
            for target, truth in (("traffic", stream.accuracy), ("window", float(correct.mean()))):
                found = {
                    "labels alone": labels_only(sample, target=target),
                    "own confidence": prediction_powered(sample, stream.confidence[window], target=target),
                    "stronger model": prediction_powered(sample, stream.stronger[window], target=target),
                }
                for proxy, estimate in found.items():
                    tallies.setdefault((draw, proxy, target), Tally()).add(estimate, truth)
    return {key: tally.figures() for key, tally in tallies.items()}


def ceilings(stream: Stream, proxy: Floats) -> dict[str, float]:
    """By how much a proxy can shorten the interval at best.

    A linear use of it leaves 1 - correlation² of the variance (random share). If answers are drawn by the standard
    deviation that the proxy itself leaves, the mean of that remains, in place of its root mean square.
    """
    correlation = float(np.corrcoef(proxy, stream.correct)[0, 1])
    calibrated = ConfidenceCalibration.fit(proxy, stream.correct)(proxy)
    deviation = float(np.sqrt(calibrated * (1 - calibrated)).mean())
    accuracy = stream.accuracy
    return {
        "correlation": correlation,
        "random share": 1 - (1 - correlation**2) ** 0.5,
        "unsure preferred": 1 - deviation / (accuracy * (1 - accuracy)) ** 0.5,
    }


def simulate_drifted_labels(stream: Stream, reference: Floats, repetitions: int) -> dict[str, float]:
    """Return how often intervals from 100 labels contain the accuracy of a drifted window, by proxy."""
    random = np.random.default_rng([SEED, 3])
    rule = LabellingRule.for_budget(min(1.0, BUDGETS[0] / len(stream)), reference.tolist())
    probability = np.array([rule.probability(of) for of in stream.confidence.tolist()])
    labels, powered = Tally(), Tally()
    for _ in range(repetitions):
        rows = np.flatnonzero(random.random(len(stream)) < probability)
        sample = LabelledSample(len(stream), rows, probability[rows], stream.correct[rows])
        labels.add(labels_only(sample, target="window"), stream.accuracy)
        powered.add(prediction_powered(sample, stream.confidence, target="window"), stream.accuracy)
    return {"labels alone": labels.figures()["coverage"], "own confidence": powered.figures()["coverage"]}


def label_lines(figures: Budgets) -> str:
    """Format the estimates with labels; lengths are compared with labels of a random share."""
    head = ["draw", "proxy"]
    for budget in BUDGETS:
        head += [f"{budget} labels: contains the traffic's", "the window's", "length", "shorter by"]
    rows = []
    for draw, proxy in dict.fromkeys((draw, proxy) for draw, proxy, _ in figures[BUDGETS[0]]):
        cells = [draw, proxy]
        for budget in BUDGETS:
            found, of_window = (figures[budget][draw, proxy, target] for target in ("traffic", "window"))
            plain = figures[budget]["random share", "labels alone", "traffic"]["length"]
            cells += [
                f"{found['coverage']:.1%}",
                f"{of_window['coverage']:.1%}",
                f"{found['length'] * 100:.1f} points",
                f"{1 - found['length'] / plain:.1%}",
            ]
        rows.append(cells)
    return table(head, rows)


def label_verdicts(served: Budgets, small: Budgets) -> list[str]:
    """Say for each limit whether it is kept."""
    covered = [found["coverage"] for budgets in (served, small) for of in budgets.values() for found in of.values()]
    limits = f"{COVERAGE[0]:.1%} to {COVERAGE[1]:.1%}"
    lines = [f"coverage with labels {min(covered):.1%} to {max(covered):.1%}, limits {limits}"]
    for (draw, proxy), limit in SHORTER.items():
        lines.append(f"{proxy}, {draw}: shorter by at least {_shorter(served, draw, proxy):.1%}, limit {limit:.0%}")
    for name, budgets in (("served", served), ("small", small)):
        found = _shorter(budgets, "unsure preferred", "stronger model")
        lines.append(f"stronger model, unsure preferred, {name}: by at least {found:.1%}, limit {STRONGER_SHORTER:.0%}")
    return lines


def _shorter(budgets: Budgets, draw: str, proxy: str) -> float:
    plain = "random share", "labels alone", "traffic"
    return min(1 - of[draw, proxy, "traffic"]["length"] / of[plain]["length"] for of in budgets.values())
