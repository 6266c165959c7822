"""Do the estimates of the accuracy in production keep what they promise? A simulation on real tweets.

    python -m benchmarks.estimates [--tweets FILE] [--other FILE] [--repetitions 1000] [--shifted 10]

A logistic regression is trained on 60 % of FILE (the sample of Sentiment140) and answers the rest, the stream. Its true
accuracy on the stream is known here, so it can be counted how often an interval contains it.

With labels: in each repetition 10,000 answers are drawn from the stream with replacement, and 100 or 400 of them are
labelled (in expectation), by a random share or by the rule that prefers unsure answers. The stronger model is an
ensemble of the logistic regression with one on naive Bayes features; it is judged for the served model, and for a small
model of words on 20,000 tweets, to which it is superior by more. The ceilings follow from the proxy alone.

Without labels: in each repetition other tweets of the stream are the reference (10,000) and the window (1,000): tweets
as they come, mostly of one topic, of days and users the model has never seen (`random`, with a model of `head` and
`tail`), with a quarter of the labels inverted, or of another corpus (`--other`: Sanders, 2011, labelled by people).
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.results import machine, table, write
from benchmarks.stream import Floats, Stream, answered, fit_logistic, fit_models, read_frame, split
from polarity.config.settings import PROJECT
from polarity.record.labelling import LabellingRule
from polarity.watch.density_ratio import density_ratios, shift_features
from polarity.watch.estimates import Estimate
from polarity.watch.expected_accuracy import ConfidenceCalibration, expected_accuracy
from polarity.watch.labelled_sample import LabelledSample, labels_only, prediction_powered

DATA = PROJECT.parent / "shared" / "data"
BUDGETS = (100, 400)
WINDOW, REFERENCE, SHORT_WINDOW = 10_000, 10_000, 1_000
OF_TOPIC, INVERTED = 0.7, 0.25
COVERAGE = (0.935, 0.965)  # limits
SHORTER = {("random share", "own confidence"): 0.05, ("unsure preferred", "own confidence"): 0.09}
STRONGER_SHORTER, MEAN_ERROR = 0.15, 0.015
SEED = 23

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


@dataclass
class Tally:
    """The estimates of one method over the repetitions, beside the truth."""

    rows: list[tuple[float, float, float, float]]

    def add(self, found: Estimate, truth: float) -> None:
        self.rows.append((found.value, found.low, found.high, truth))

    def figures(self) -> dict[str, float]:
        value, low, high, truth = np.array(self.rows).T
        return {
            "coverage": float(((low <= truth) & (truth <= high)).mean()),
            "length": float((high - low).mean()),
            "bias": float((value - truth).mean()),
            "mean_absolute_error": float(np.abs(value - truth).mean()),
            "truth": float(truth.mean()),
        }


def simulate_labels(
    stream: Stream, reference: Floats, budget: int, repetitions: int
) -> dict[tuple[str, str, str], dict[str, float]]:
    """Return the figures by draw ('random share', ...), proxy ('labels alone', ...) and target."""
    random = np.random.default_rng([SEED, budget])
    rules = {
        "random share": LabellingRule.uniform(budget / WINDOW),
        "unsure preferred": LabellingRule.for_budget(budget / WINDOW, reference.tolist()),
    }
    inclusion = {
        draw: np.array([rule.probability(of) for of in stream.confidence.tolist()]) for draw, rule in rules.items()
    }
    tallies: dict[tuple[str, str, str], Tally] = {}
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
                    tallies.setdefault((draw, proxy, target), Tally([])).add(estimate, truth)
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


def take(stream: Stream, rows: npt.NDArray[Any]) -> Stream:
    """Return the tweets of these rows."""
    texts = [stream.texts[row] for row in rows]
    return Stream(texts, stream.block[rows], stream.correct[rows], stream.confidence[rows], stream.stronger[rows])


def calibration_error(stream: Stream, repetitions: int) -> dict[str, float]:
    """CBPE on windows as they come, with another reference in each repetition."""
    random, tally = np.random.default_rng([SEED, 1]), Tally([])
    for _ in range(repetitions):
        rows = random.permutation(len(stream))[: REFERENCE + SHORT_WINDOW]
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
        size = int(SHORT_WINDOW * OF_TOPIC)
        for _ in range(times):
            chosen = random.choice(about, size, replace=False)
            others = np.setdiff1d(np.arange(len(stream)), chosen)
            yield topic, np.concatenate([chosen, random.choice(others, SHORT_WINDOW - size, replace=False)])


def simulate_shifts(
    stream: Stream, other_days: tuple[Stream, Stream], other_corpus: Stream | None, times: int
) -> dict[str, dict[str, dict[str, float]]]:
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
                tallies.setdefault(kind, {}).setdefault(method, Tally([])).add(estimate, truth)

    own = Reference(stream, shift_features(stream.texts, stream.confidence))
    every = np.arange(len(stream))

    def rest(chosen: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return random.choice(np.setdiff1d(every, chosen), REFERENCE, replace=False)

    for _ in range(3 * times):
        chosen = random.choice(every, SHORT_WINDOW, replace=False)
        window = take(stream, chosen)
        inverted = window.correct ^ (random.random(SHORT_WINDOW) < INVERTED)
        truths = {
            "as they come": window.accuracy,
            "concept drift: a quarter of the labels inverted": float(inverted.mean()),
        }
        meet(own, rest(chosen), window, own.features[chosen], truths)
    for topic, chosen in topic_windows(stream, random, times):
        window = take(stream, chosen)
        meet(own, rest(chosen), window, own.features[chosen], {f"topic: {topic}": window.accuracy})
    before, after = (Reference(of, shift_features(of.texts, of.confidence)) for of in other_days)
    for _ in range(3 * times):
        rows = random.choice(len(before.stream), REFERENCE, replace=False)
        chosen = random.choice(len(after.stream), SHORT_WINDOW, replace=False)
        window = take(after.stream, chosen)
        meet(before, rows, window, after.features[chosen], {"other days and users": window.accuracy})
    if other_corpus is not None:
        features = shift_features(other_corpus.texts, other_corpus.confidence)
        for _ in range(times):
            truths = {"concept drift: another corpus": other_corpus.accuracy}
            meet(own, rest(every[:0]), other_corpus, features, truths)
    of_topics = [name for name in tallies if name.startswith("topic: ")]
    tallies["all topics"] = {
        method: Tally([row for name in of_topics for row in tallies[name][method].rows]) for method in ("CBPE", "PAPE")
    }
    return {kind: {method: of.figures() for method, of in methods.items()} for kind, methods in tallies.items()}


def simulate_drifted_labels(stream: Stream, reference: Floats, repetitions: int) -> dict[str, float]:
    """Return how often intervals from 100 labels contain the accuracy of a drifted window, by proxy."""
    random = np.random.default_rng([SEED, 3])
    rule = LabellingRule.for_budget(min(1.0, BUDGETS[0] / len(stream)), reference.tolist())
    probability = np.array([rule.probability(of) for of in stream.confidence.tolist()])
    labels, powered = Tally([]), Tally([])
    for _ in range(repetitions):
        rows = np.flatnonzero(random.random(len(stream)) < probability)
        sample = LabelledSample(len(stream), rows, probability[rows], stream.correct[rows])
        labels.add(labels_only(sample, target="window"), stream.accuracy)
        powered.add(prediction_powered(sample, stream.confidence, target="window"), stream.accuracy)
    return {"labels alone": labels.figures()["coverage"], "own confidence": powered.figures()["coverage"]}


def label_lines(figures: Mapping[int, Mapping[tuple[str, str, str], Mapping[str, float]]]) -> str:
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


def shift_lines(figures: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
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


def verdicts(
    with_labels: Mapping[str, Mapping[int, Mapping[tuple[str, str, str], Mapping[str, float]]]],
    undrifted: Mapping[str, float],
    shifts: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> list[str]:
    """Say for each limit whether it is kept."""
    served = with_labels["served"]
    covered = [
        of["coverage"] for models in with_labels.values() for budget in models.values() for of in budget.values()
    ]
    lines = [
        f"coverage with labels {min(covered):.1%} to {max(covered):.1%}, limits {COVERAGE[0]:.1%} to {COVERAGE[1]:.1%}"
    ]

    def shorter(
        figures: Mapping[int, Mapping[tuple[str, str, str], Mapping[str, float]]], draw: str, proxy: str
    ) -> float:
        return min(
            1 - of[draw, proxy, "traffic"]["length"] / of["random share", "labels alone", "traffic"]["length"]
            for of in figures.values()
        )

    lines += [
        f"{proxy}, {draw}: shorter by at least {shorter(served, draw, proxy):.1%}, limit {limit:.0%}"
        for (draw, proxy), limit in SHORTER.items()
    ]
    lines += [
        f"stronger model, unsure preferred, {name}: shorter by at least "
        f"{shorter(of, 'unsure preferred', 'stronger model'):.1%}, limit {STRONGER_SHORTER:.0%}"
        for name, of in with_labels.items()
    ]
    topics = shifts["all topics"]
    lines.append(f"CBPE: mean error {undrifted['mean_absolute_error'] * 100:.2f} points, limit {MEAN_ERROR * 100:.1f}")
    lines.append(
        f"topics: PAPE {topics['PAPE']['mean_absolute_error'] * 100:.2f}, limit (CBPE) "
        f"{topics['CBPE']['mean_absolute_error'] * 100:.2f} points"
    )
    return lines


def main() -> None:
    """Print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tweets", type=Path, default=DATA / "sentiment140_sample.csv.gz")
    parser.add_argument("--other", type=Path, default=DATA / "sanders_full_corpus.csv.gz")
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--shifted", type=int, default=10, help="windows for each topic; three times that for the rest")
    options = parser.parse_args()
    start = machine()

    train, validation, rest = split(read_frame(options.tweets))
    models = fit_models(train, validation)
    streams = {"served": answered(rest, models.served, models.stronger)}
    streams["small"] = answered(rest, models.small, models.stronger)
    references = {"served": answered(validation, models.served), "small": answered(validation, models.small)}
    with_labels = {
        name: {
            budget: simulate_labels(stream, references[name].confidence, budget, options.repetitions)
            for budget in BUDGETS
        }
        for name, stream in streams.items()
    }
    limits = {
        f"{name}, {proxy}": ceilings(stream, values)
        for name, stream in streams.items()
        for proxy, values in (("own confidence", stream.confidence), ("stronger model", stream.stronger))
    }

    undrifted = calibration_error(streams["served"], options.repetitions)
    of_days = fit_logistic(train[train["block"] != "random"], validation[validation["block"] != "random"])
    days = (
        answered(rest[rest["block"] != "random"], of_days),
        answered(rest[rest["block"] == "random"], of_days),
    )
    other = answered(read_frame(options.other), models.served) if options.other.exists() else None
    shifts = simulate_shifts(streams["served"], days, other, options.shifted)

    random = np.random.default_rng([SEED, 4])
    window = take(streams["served"], random.choice(len(streams["served"]), SHORT_WINDOW, replace=False))
    inverted = replace(window, correct=window.correct ^ (random.random(SHORT_WINDOW) < INVERTED))
    drifted = {"a quarter of the labels inverted": inverted} | ({"another corpus": other} if other else {})
    drifted_labels = {
        name: simulate_drifted_labels(of, references["served"].confidence, options.repetitions)
        for name, of in drifted.items()
    }

    parts = [
        f"{start}; {options.repetitions:,} repetitions; stream of {len(rest):,} tweets",
        f"accuracy on the stream: {', '.join(f'{name} {of.accuracy:.1%}' for name, of in streams.items())}",
        *(f"{name} model:\n\n{label_lines(of)}" for name, of in with_labels.items()),
        "Ceilings:\n\n"
        + table(
            ["model, proxy", "correlation with correctness", "random share", "unsure preferred"],
            [
                [name, f"{of['correlation']:.3f}", f"{of['random share']:.1%}", f"{of['unsure preferred']:.1%}"]
                for name, of in limits.items()
            ],
        ),
        f"CBPE on {options.repetitions:,} windows as they come: mean error "
        f"{undrifted['mean_absolute_error'] * 100:.2f} points, interval contains it in {undrifted['coverage']:.1%}",
        shift_lines(shifts),
        "Coverage from 100 labels, unsure preferred, of a drifted window:\n\n"
        + table(
            ["window", "labels alone", "own confidence"],
            [[name, *(f"{of:.1%}" for of in found.values())] for name, found in drifted_labels.items()],
        ),
        "\n".join(f"- {line}" for line in verdicts(with_labels, undrifted, shifts)),
    ]
    figures = {
        "machine": start,
        "repetitions": options.repetitions,
        "accuracy": {name: of.accuracy for name, of in streams.items()},
        "with_labels": {
            name: {budget: {"; ".join(key): of for key, of in found.items()} for budget, found in budgets.items()}
            for name, budgets in with_labels.items()
        },
        "ceilings": limits,
        "undrifted": undrifted,
        "shifts": shifts,
        "drifted_labels": drifted_labels,
    }
    write("estimates", "\n\n".join(parts) + "\n", figures)


if __name__ == "__main__":
    main()
