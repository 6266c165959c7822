"""An hour compared with the same hour of former weeks: false alarms as promised, real changes found."""

from __future__ import annotations

import math

import numpy as np
import pytest

from polarity.watch.unusual import HOURS_PER_WEEK, compare_hour

WEEKS = 4


def stream(generator: np.random.Generator, hours: int, *, between: float) -> dict[int, tuple[int, int]]:
    """Answers by hour: a share with a daily rhythm, that differs between weeks, and a volume with one of its own."""
    found = {}
    for hour in range(hours):
        whole = int(generator.poisson(60 + 400 * (1 + math.sin(hour * math.pi / 12))))
        angle = math.asin(math.sqrt(0.3 + 0.1 * math.sin(hour * math.pi / 12))) + between * generator.normal()
        found[hour] = int(generator.binomial(whole, math.sin(angle) ** 2)), whole
    return found


@pytest.mark.parametrize("between", [0.0, 0.05])
def test_false_alarms_are_as_rare_as_wanted(between: float) -> None:
    generator = np.random.default_rng(7)
    looks = 1_500
    counts = stream(generator, (WEEKS + 1) * HOURS_PER_WEEK + looks, between=between)
    wanted = 0.02 * 8_766  # a high rate, so that a simulation can show it: two looks in a hundred
    found = [
        compare_hour(counts, (WEEKS + 1) * HOURS_PER_WEEK + look, false_alarms_per_year=wanted) for look in range(looks)
    ]
    alarms = sum(one is not None and one.unusual for one in found)
    assert all(one is not None for one in found)
    # 30 are expected; neighbouring looks share their former weeks
    assert 12 <= alarms <= 55


def test_a_change_is_found_and_a_variance_between_weeks_is_allowed_for() -> None:
    generator = np.random.default_rng(8)
    last = 5 * HOURS_PER_WEEK
    calm, lively = (stream(generator, last + 1, between=between) for between in (0.0, 0.08))
    for counts in (calm, lively):
        counts[last] = (560, 1_000)
    found = compare_hour(calm, last)
    assert found is not None
    assert found.unusual
    assert found.low < found.usual < found.high < found.share
    assert found.weeks == WEEKS
    wide = compare_hour(lively, last)
    assert wide is not None
    assert wide.high - wide.low > 2 * (found.high - found.low)


def test_too_little_is_not_judged() -> None:
    busy = dict.fromkeys(range(5 * HOURS_PER_WEEK), (30, 100))
    assert compare_hour(busy, 5 * HOURS_PER_WEEK) is None, "the hour itself has no answers"
    assert compare_hour({hour: busy[hour] for hour in range(4 * HOURS_PER_WEEK, len(busy))}, len(busy) - 1) is None
    found = compare_hour(busy, len(busy) - 1)
    assert found is not None
    assert not found.unusual
