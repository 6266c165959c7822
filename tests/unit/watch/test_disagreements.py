"""The bets on labelled disagreements: how often they are wrong, and how soon they are right."""

from __future__ import annotations

import numpy as np
import pytest

from polarity.watch.disagreements import LEVEL, Disagreement, compare, log_wealth, not_worse

random = np.random.default_rng(5)


def drawn(count: int, mean: float, inclusion: float = 1.0) -> list[Disagreement]:
    wins = random.random(count) < (1 + mean) / 2
    return [Disagreement(bool(win), not win, inclusion) for win in wins]


def test_equal_models_are_rarely_told_apart() -> None:
    wins = np.where(random.random((1_000, 3_000)) < 0.5, 1.0, -1.0)
    decided = [(log_wealth(side) >= np.log(2 / LEVEL)).any(axis=1) for side in (wins, -wins)]
    # 5 % of 1,000 is allowed; more than 70 has a probability of 0.3 % at most.
    assert (decided[0] | decided[1]).sum() <= 70


def test_preferred_labelling_of_one_side_misleads_only_without_its_probabilities() -> None:
    # Labels are asked for where the champion wins, always, and where the challenger does, at 40 %.
    wins = random.random(6_000) < 0.5
    inclusion = np.where(wins, 0.4, 1.0)
    chosen = random.random(6_000) < inclusion
    found = [(bool(win), float(p)) for win, p in zip(wins[chosen], inclusion[chosen], strict=True)]
    assert compare([Disagreement(win, not win, p) for win, p in found], least_inclusion=0.4).verdict is None
    assert compare([Disagreement(win, not win) for win, _ in found]).verdict == "champion"


@pytest.mark.parametrize(("mean", "verdict"), [(0.2, "challenger"), (-0.2, "champion")])
def test_a_difference_is_found(mean: float, verdict: str) -> None:
    found = compare(drawn(2_000, mean, 0.9), least_inclusion=0.8)
    assert found.verdict == verdict
    assert f"the {verdict} is better" in found.in_words()


def test_a_margin_is_held_or_not() -> None:
    pairs = {"margin": 0.02, "pairs": 10_000, "disagreeing": 1_000}
    assert not_worse(drawn(2_000, 0.0), **pairs)
    assert not not_worse(drawn(2_000, -0.25), **pairs)
    assert not not_worse([], **pairs)
    # Models that answer alike more often than by the margin cannot differ by it.
    assert not_worse([], margin=0.02, pairs=10_000, disagreeing=100)


def test_at_the_margin_the_bets_are_rarely_wrong() -> None:
    wrong = sum(not_worse(drawn(500, -0.2), margin=0.02, pairs=10_000, disagreeing=1_000) for _ in range(300))
    # 5 % of 300 is allowed; more than 27 has a probability of 0.2 % at most.
    assert wrong <= 27


def test_probabilities_out_of_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"inclusion probability of 0\.5"):
        compare([Disagreement(True, False, 0.5)], least_inclusion=0.8)
