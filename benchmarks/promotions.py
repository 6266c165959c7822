"""Does the rule of promotion keep what it promises? A simulation of a thousand nights of candidates.

    python -m benchmarks.promotions [--nights 1000] [--series 200]

Each night a new candidate is compared with the champion and the reference, by the code that also decides in a training
run: on the same test tweets every night, or on new ones. A candidate is equal to the champion of the night, worse by
the margin, or better by two points, and its errors on the difficult tweets are independent of the champion's. What
counts is the true quality, which only a simulation knows: how often the served model ever falls below the reference by
more than the margin, and how soon a better candidate is taken. For comparison, the same with the earlier rule: the
champion alone, always at 2.5 %.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import zeta

from polarity.config.sections import PolicyConfig
from polarity.evaluation.predictions import Predictions
from polarity.evaluation.verdict import Verdict
from polarity.registry.promotion import REFERENCES
from polarity.selection.champion import Opponent, compare_with_champion, with_best_reference
from polarity.selection.decisions import EXPONENT, Count

SIZES = (500, 3500, 7000)
EARLIER_DECISIONS = (0, 30, 300)
TRIES = 3
BETTER = 0.02
DIFFICULT = 0.3
"""Share of tweets on which two models may differ; they differ on half of those, as the families do on real tweets."""
RIGHT = 0.6
"""Share of the difficult tweets that the first champion classifies correctly."""
POLICY = PolicyConfig(resamples=200)
EARLIER_POLICY = PolicyConfig(resamples=200, error=0.025 * float(zeta(EXPONENT)))
"""With which the first decision has a level of 2.5 %."""

Kind = Literal["equal", "worse"]


@dataclass(frozen=True)
class Model:
    """A model by its true quality (macro-F1) and its answers to the test tweets."""

    quality: float
    predictions: Predictions


@dataclass
class Nights:
    """The state of one series of nights: the test tweets, the champion, and those since the last superior promotion."""

    rows: int
    random: np.random.Generator
    earlier_rule: bool = False
    new_tweets: bool = False

    def __post_init__(self) -> None:
        self._draw_tweets()
        self.on_test_set = self.against_reference = 0
        self.champion = self.model(1 - DIFFICULT * (1 - RIGHT))
        self.since_superior = [self.champion]

    def _draw_tweets(self) -> None:
        self.truth: npt.NDArray[np.int64] = self.random.integers(2, size=self.rows)
        self.difficult = self.random.random(self.rows) < DIFFICULT

    def next_night(self) -> None:
        """New test tweets for all, if that is so."""
        if self.new_tweets:
            self._draw_tweets()
            self.on_test_set = 0
            place = next(i for i, of in enumerate(self.since_superior) if of is self.champion)
            self.since_superior = [self.model(of.quality) for of in self.since_superior]
            self.champion = self.since_superior[place]

    def model(self, quality: float) -> Model:
        """A new model of this quality."""
        right = 1 - (1 - quality) / DIFFICULT
        wrong = self.difficult & (self.random.random(self.rows) >= right)
        answers = np.where(wrong, 1 - self.truth, self.truth)
        probabilities = np.eye(2, dtype=np.float32)[answers]
        columns = pd.DataFrame(index=range(self.rows))
        return Model(quality, Predictions(self.truth, probabilities, ("negative", "positive"), columns))

    def meet(self, candidate: Model) -> Verdict:
        """Let a candidate meet the champion, and promote it if the verdict says so."""
        self.on_test_set += 1
        self.against_reference += 1
        unseen = np.zeros(self.rows, dtype=bool)
        opponents = [Opponent("champion", "champion", self.champion.predictions, unseen)]
        if not self.earlier_rule:
            former = [of for of in self.since_superior if of is not self.champion]
            opponents += [Opponent("former", "reference", of.predictions, unseen) for of in former]
            opponents = with_best_reference(opponents)
        verdict = compare_with_champion(
            Verdict("candidate", promote=True, reason="", standings=()),
            candidate.predictions,
            opponents,
            count=Count(1, 1) if self.earlier_rule else Count(self.on_test_set, self.against_reference),
            policy=EARLIER_POLICY if self.earlier_rule else POLICY,
            seed=self.against_reference,
        )
        if verdict.promote:
            self.champion = candidate
            if verdict.basis == "superior":
                self.against_reference = 0
            earlier = [] if verdict.basis == "superior" else self.since_superior
            self.since_superior = [*earlier[:1], *[*earlier[1:], candidate][-(REFERENCES - 1) :]]
        return verdict

    @property
    def shortfall(self) -> float:
        """By how much the served model is worse than the best since the last superior promotion, in truth."""
        return max(of.quality for of in self.since_superior) - self.champion.quality


def many_nights(
    kind: Kind, rows: int, nights: int, earlier_rule: bool, new_tweets: bool, seed: int
) -> tuple[float, int, float]:
    """The largest shortfall, the number of promotions, and the change of quality in the end."""
    state = Nights(rows, np.random.default_rng([seed, rows]), earlier_rule, new_tweets)
    start, anchor, largest, promotions = state.champion.quality, state.champion.quality, 0.0, 0
    for _ in range(nights):
        state.next_night()
        step = 0.0 if kind == "equal" else -POLICY.margin
        verdict = state.meet(state.model(max(state.champion.quality + step, 1 - DIFFICULT)))
        promotions += verdict.promote
        if verdict.promote and verdict.basis == "superior":
            anchor = state.champion.quality
        largest = max(largest, state.shortfall, anchor - state.champion.quality)
    return largest, promotions, state.champion.quality - start


def tries_until_taken(rows: int, decisions_before: int, seed: int) -> bool:
    """Whether a candidate that is better by two points is taken within three tries."""
    state = Nights(rows, np.random.default_rng([seed, rows, decisions_before]))
    state.on_test_set = state.against_reference = decisions_before
    return any(state.meet(state.model(state.champion.quality + BETTER)).promote for _ in range(TRIES))


def table(nights: int, series: int, run: Callable[..., Iterator[object]]) -> Iterator[str]:
    """The lines of the result as a Markdown table."""
    head = ["test tweets", "of each night", "candidates", "rule", "below by more than the margin", "promotions"]
    yield f"| {' | '.join([*head, 'change of quality'])} |"
    yield f"|{'---|' * (1 + len(head))}"
    for rows, new_tweets, kind, earlier_rule in product(SIZES, (False, True), ("equal", "worse"), (True, False)):
        one = partial(many_nights, kind, rows, nights, earlier_rule, new_tweets)
        found = np.array(list(run(one, range(series))))
        below = (found[:, 0] > POLICY.margin + 1e-9).mean()
        what = f"{rows:,} | {'new' if new_tweets else 'the same'} | {kind} | {'earlier' if earlier_rule else 'present'}"
        means = f"{found[:, 1].mean():.1f} | {found[:, 2].mean() * 100:+.2f} points"
        yield f"| {what} | {below:.1%} of {series} series | {means} |"
    yield ""
    yield f"| test tweets | {' | '.join(f'after {before} decisions' for before in EARLIER_DECISIONS)} |"
    yield f"|{'---|' * (1 + len(EARLIER_DECISIONS))}"
    for rows in SIZES:
        shares = [
            np.mean(list(run(partial(tries_until_taken, rows, before), range(5 * series))))
            for before in EARLIER_DECISIONS
        ]
        yield f"| {rows:,} | {' | '.join(f'{share:.1%}' for share in shares)} |"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=1000)
    parser.add_argument("--series", type=int, default=200)
    options = parser.parse_args()
    with ProcessPoolExecutor() as pool:
        for line in table(options.nights, options.series, partial(pool.map, chunksize=4)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
