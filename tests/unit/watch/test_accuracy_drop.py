"""Evidence of a drop: looked at after every label, false alarms stay rare; drops are found."""

from __future__ import annotations

import numpy as np
import pytest

from polarity.watch.accuracy_drop import evidence_of_a_drop


def first_alarm(evidence: np.ndarray, level: float) -> int | None:
    found = np.flatnonzero(evidence >= level)
    return int(found[0]) if len(found) else None


def labels(
    generator: np.random.Generator, number: int, accuracy: float, *, unequal: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Labels of drawn answers of a model that is more often right when it is sure, and is drawn less often then."""
    confidence = generator.uniform(0.5, 1, 40 * number)
    likely = np.clip(accuracy + 0.6 * (confidence - 0.75), 0, 1)
    inclusion = 0.02 + 0.06 * (1 - confidence) if unequal else np.full(len(confidence), 0.035)
    drawn = generator.random(len(confidence)) < inclusion
    correct = generator.random(len(confidence)) < likely
    return correct[drawn][:number], inclusion[drawn][:number]


@pytest.mark.parametrize("unequal", [False, True])
def test_false_alarms_are_no_more_frequent_than_promised(unequal: bool) -> None:
    generator = np.random.default_rng(3)
    level, run, runs = 1_000, 1_000, 300
    alarms = 0
    for _ in range(runs):
        correct, inclusion = labels(generator, run, 0.8, unequal=unequal)
        alarms += first_alarm(evidence_of_a_drop(correct, inclusion, 0.8, floor=0.02), level) is not None
    # At the reference itself; with on average 1,000 labels between alarms at most about 63 % of such runs have one.
    assert alarms / runs < 0.63
    assert alarms > 0, "a test that cannot fail"


def test_above_the_reference_there_is_hardly_any() -> None:
    generator = np.random.default_rng(4)
    correct, inclusion = labels(generator, 20_000, 0.83, unequal=True)
    assert first_alarm(evidence_of_a_drop(correct, inclusion, 0.8), 20_000) is None


@pytest.mark.parametrize(("after", "within"), [(0.65, 250), (0.7, 450)])
def test_a_drop_is_found_soon_also_after_a_long_good_time(after: float, within: int) -> None:
    generator = np.random.default_rng(5)
    delays = []
    for _ in range(20):
        good, bad = (labels(generator, 3_000, accuracy, unequal=True) for accuracy in (0.83, after))
        correct, inclusion = (np.concatenate(pair) for pair in zip(good, bad, strict=True))
        alarm = first_alarm(evidence_of_a_drop(correct, inclusion, 0.8), 20_000)
        assert alarm is not None
        assert alarm >= 3_000
        delays.append(alarm - 3_000)
    assert np.median(delays) < within


def test_mistakes_are_named() -> None:
    assert len(evidence_of_a_drop([], [], 0.8)) == 0
    with pytest.raises(ValueError, match="2 labels and 1 inclusion"):
        evidence_of_a_drop([True, False], [0.5], 0.8)
    with pytest.raises(ValueError, match=r"above 0 and at least 0\.6"):
        evidence_of_a_drop([True], [0.5], 0.8, floor=0.6)
    with pytest.raises(ValueError, match="reference=1"):
        evidence_of_a_drop([True], [0.5], 1.0)
