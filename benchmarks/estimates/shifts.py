"""Estimates without labels, on tweets as they come, on a shift of topics or users, and on a change of meaning."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.estimates.stream import Stream, take
from benchmarks.estimates.tally import Figures, Tally
from benchmarks.results import table
from polarity.watch.density_ratio import density_ratios, shift_features
from polarity.watch.estimates import Estimate
from polarity.watch.expected_accuracy import ConfidenceCalibration, expected_accuracy

REFERENCE, WINDOW = 5_000, 1_000
OF_TOPIC, INVERTED = 0.7, 0.25
MEAN_ERROR = 0.015  # limit
SEED = 29

Methods = Mapping[str, Figures]

_TOPICS = {
    "links": "http",
    "school": "school|class|exams?|homework|study|studying|college|finals",
    "work": "work|working|job|office|boss",
    "sleep": "sleep|bed|tired|awake|nap|asleep",
    "illness": "sick|hurts?|headache|pain|ill|flu|doctor",
    "weather": "rain|raining|sun|sunny|weather|cold|hot|snow",
    "music and film": "songs?|music|movies?|album|concert|band|watching",
    "thanks": "thanks?|thx|welcome|congrats",
}


@dataclass(frozen=True)
class Reference:
    """Reference tweets of a served model, with their features for the domain classifier."""

    stream: Stream
    features: Any

    def without_labels(self, rows: npt.NDArray[Any], window: Stream, features: Any, *, seed: int) -> list[Estimate]:
        """Estimate the accuracy of the window by CBPE and PAPE, with these rows of the reference."""
        confidence, correct = self.stream.confidence[rows], self.stream.correct[rows]
        ratios = density_ratios(self.features[rows], features, seed=seed)
        calibrations = (
            ConfidenceCalibration.fit(confidence, correct),
            ConfidenceCalibration.fit(confidence, correct, weights=ratios),
        )
        return [expected_accuracy(of, window.confidence, target="window") for of in calibrations]


def calibration_error(stream: Stream, repetitions: int) -> Figures:
    """CBPE on windows as they come, with another reference in each repetition."""
    random, tally = np.random.default_rng([SEED, 1]), Tally()
    for _ in range(repetitions):
        rows = random.permutation(len(stream))[: REFERENCE + WINDOW]
        reference, window = rows[:REFERENCE], rows[REFERENCE:]
        calibration = ConfidenceCalibration.fit(stream.confidence[reference], stream.correct[reference])
        found = expected_accuracy(calibration, stream.confidence[window], target="window")
        tally.add(found, float(stream.correct[window].mean()))
    return tally.figures()


def topic_windows(stream: Stream, random: np.random.Generator, times: int) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Yield windows that are mostly of one topic."""
    for topic, words in _TOPICS.items():
        pattern = re.compile(words if topic == "links" else rf"\b(?:{words})\b", re.IGNORECASE)
        about = np.flatnonzero([bool(pattern.search(text)) for text in stream.texts])
        size = int(WINDOW * OF_TOPIC)
        for _ in range(times):
            chosen = random.choice(about, size, replace=False)
            others = np.setdiff1d(np.arange(len(stream)), chosen)
            yield topic, np.concatenate([chosen, random.choice(others, WINDOW - size, replace=False)])


def simulate_shifts(
    stream: Stream, other_days: tuple[Stream, Stream], other_corpus: Stream | None, times: int
) -> dict[str, dict[str, Figures]]:
    """Return the figures of CBPE and PAPE by kind of window."""
    random = np.random.default_rng([SEED, 2])
    tallies: dict[str, dict[str, Tally]] = {}

    def meet(
        reference: Reference, rows: npt.NDArray[Any], window: Stream, features: Any, truths: Mapping[str, float]
    ) -> None:
        """Estimate once, and compare with the true accuracy of each kind: labels do not enter the estimates."""
        found = reference.without_labels(rows, window, features, seed=len(tallies))
        for kind, truth in truths.items():
            for method, estimate in zip(("CBPE", "PAPE"), found, strict=True):
                tallies.setdefault(kind, {}).setdefault(method, Tally()).add(estimate, truth)

    own = Reference(stream, shift_features(stream.tweets, stream.confidence))
    every = np.arange(len(stream))

    def rest(chosen: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return random.choice(np.setdiff1d(every, chosen), REFERENCE, replace=False)

    for _ in range(3 * times):
        chosen = random.choice(every, WINDOW, replace=False)
        window = take(stream, chosen)
        inverted = window.correct ^ (random.random(WINDOW) < INVERTED)
        truths = {
            "as they come": window.accuracy,
            "concept drift: a quarter of the labels inverted": float(inverted.mean()),
        }
        meet(own, rest(chosen), window, own.features[chosen], truths)
    for topic, chosen in topic_windows(stream, random, times):
        window = take(stream, chosen)
        meet(own, rest(chosen), window, own.features[chosen], {f"topic: {topic}": window.accuracy})
    before, after = (Reference(of, shift_features(of.tweets, of.confidence)) for of in other_days)
    for _ in range(3 * times):
        rows = random.choice(len(before.stream), REFERENCE, replace=False)
        chosen = random.choice(len(after.stream), WINDOW, replace=False)
        window = take(after.stream, chosen)
        meet(before, rows, window, after.features[chosen], {"other days and users": window.accuracy})
    if other_corpus is not None:
        features = shift_features(other_corpus.tweets, other_corpus.confidence)
        for _ in range(times):
            truths = {"concept drift: another corpus": other_corpus.accuracy}
            meet(own, rest(every[:0]), other_corpus, features, truths)
    of_topics = [name for name in tallies if name.startswith("topic: ")]
    tallies["all topics"] = {
        method: Tally([row for name in of_topics for row in tallies[name][method].rows]) for method in ("CBPE", "PAPE")
    }
    return {kind: {method: of.figures() for method, of in methods.items()} for kind, methods in tallies.items()}


def shift_lines(figures: Mapping[str, Methods]) -> str:
    """Format the estimates without labels."""
    head = ["windows of 1,000", "accuracy"]
    for method in ("CBPE", "PAPE"):
        head += [f"{method}: mean error", "bias", "interval contains it"]
    rows: list[Sequence[str]] = []
    for kind, methods in figures.items():
        cells = [kind, f"{methods['CBPE']['truth']:.1%}"]
        for method in ("CBPE", "PAPE"):
            found = methods[method]
            cells += [
                f"{found['mean_absolute_error'] * 100:.2f} points",
                f"{found['bias'] * 100:+.2f}",
                f"{found['coverage']:.0%}",
            ]
        rows.append(cells)
    return table(head, rows)


def shift_verdicts(undrifted: Figures, shifts: Mapping[str, Methods]) -> list[str]:
    """Say for each limit whether it is kept."""
    plain, reweighted = (shifts["all topics"][method]["mean_absolute_error"] * 100 for method in ("CBPE", "PAPE"))
    return [
        f"CBPE: mean error {undrifted['mean_absolute_error'] * 100:.2f} points, limit {MEAN_ERROR * 100:.1f}",
        f"topics: PAPE {reweighted:.2f} points, limit (CBPE) {plain:.2f}",
    ]
