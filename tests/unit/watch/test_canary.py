"""The decisions of the canary: each rule by itself, and whole canaries of better, worse and failing challengers."""

from __future__ import annotations

import dataclasses
import itertools

import msgspec
import numpy as np
import pytest

from polarity.pipeline.config import CanaryConfig
from polarity.record.canary import CanaryState, Phase
from polarity.watch.canary import STEPS, Exposure, decide, moved
from polarity.watch.disagreements import Disagreement, Verdict, compare

RAILS = CanaryConfig()
GOOD = Exposure(1_000, 1, 0.05, 1_000, 50)
LATER = 10_000.0


def state(share: float, phase: Phase = "running") -> CanaryState:
    return CanaryState(phase, share, "v2", since=0.0, reason="as it was")


@pytest.mark.parametrize("share", [0.0, *STEPS[:-1]])
def test_a_better_challenger_goes_up_by_one_step(share: float) -> None:
    found = decide(state(share), GOOD, GOOD, "challenger", LATER, RAILS)
    assert (found.move, found.share) == ("up", next(step for step in STEPS if step > share))


@pytest.mark.parametrize(("share", "move"), [(0.0, "up"), (0.01, "up"), (0.05, "wait"), (0.25, "wait"), (0.5, "wait")])
def test_only_a_few_clients_are_answered_before_labels_have_decided(share: float, move: str) -> None:
    found = decide(state(share), GOOD, GOOD, None, LATER, RAILS)
    assert found.move == move
    assert move == "up" or "Labels have not shown" in found.reason


@pytest.mark.parametrize("share", [0.0, *STEPS])
@pytest.mark.parametrize("phase", ["running", "passed", "promoted", "unregistered"])
@pytest.mark.parametrize(
    ("bad", "evidence", "why"),
    [
        ({}, "champion", "the champion is better"),
        ({"covered": 200}, "challenger", "200 of its 1,000 requests"),
        ({"covered": 1_000, "p99_s": None}, None, "1,000 of its 1,000 requests"),
        ({"p99_s": 0.6}, "challenger", "99th percentile is 600 ms; the limit is 500 ms"),
        ({"disagreeing": 400}, "challenger", "600 of 1,000 texts"),
    ],
    ids=["evidence", "covered", "dead", "slow", "contradicting"],
)
@pytest.mark.parametrize("recent", [True, False])
def test_what_breaks_a_guard_rail_goes_back(
    share: float, phase: Phase, bad: dict[str, float | None], evidence: Verdict | None, why: str, recent: bool
) -> None:
    broken = dataclasses.replace(GOOD, **bad)
    found = decide(state(share, phase), broken if recent else GOOD, GOOD if recent else broken, evidence, LATER, RAILS)
    assert (found.move, found.share) == ("back", 0.0)
    assert why in found.reason
    after = moved(state(share, phase), found, LATER)
    assert (after.phase, after.clients, after.announced) == ("back", 0.0, False)


@pytest.mark.parametrize(("late_s", "since"), [(0, 6_000), (20, 6_000), (21, 6_021), (59, 6_059)])
def test_a_step_that_is_decided_early_in_a_minute_has_that_minute(late_s: float, since: float) -> None:
    """Of the minute before, it has nothing; and a challenger that goes back does so when it is decided."""
    now = 6_000.0 + late_s
    up = decide(state(0.05), GOOD, GOOD, "challenger", now, RAILS)
    assert moved(state(0.05), up, now).since == since
    back = decide(state(0.05), GOOD, GOOD, "champion", now, RAILS)
    assert moved(state(0.05), back, now).since == now


@pytest.mark.parametrize("phase", ["off", "paused", "back"])
def test_what_a_person_paused_and_what_has_gone_back_stays_so(phase: Phase) -> None:
    exposures = [GOOD, dataclasses.replace(GOOD, covered=900), Exposure()]
    for one, share in itertools.product(exposures, (0.0, *STEPS)):
        for evidence in ("challenger", "champion", None):
            before = state(share, phase)
            after = moved(before, decide(before, one, one, evidence, LATER, RAILS), LATER)
            assert after == before
            assert after.clients == 0


@pytest.mark.parametrize(
    ("given", "now", "why"),
    [
        ({}, 599.0, "another 1 s"),
        ({"asked": 99, "covered": 0}, LATER, "99 requests"),
        ({"asked": 100, "covered": 3}, LATER, "3 of its 100 requests"),
        ({"pairs": 10, "disagreeing": 3}, LATER, "3 of 10 texts"),
        ({"asked": 0, "covered": 0, "p99_s": None}, LATER, "0 requests"),
    ],
    ids=["early", "few", "errors by chance", "disagreements by chance", "none"],
)
def test_what_is_not_clear_waits(given: dict[str, float | None], now: float, why: str) -> None:
    unclear = dataclasses.replace(GOOD, **given)
    found = decide(state(0.05), unclear, unclear, "challenger", now, RAILS)
    assert (found.move, found.share) == ("wait", 0.05)
    assert why in found.reason


def test_before_the_first_step_mirrored_texts_count() -> None:
    few = Exposure(pairs=99)
    assert "99 mirrored texts" in decide(state(0.0), few, few, None, LATER, RAILS).reason
    enough = Exposure(pairs=100)
    assert decide(state(0.0), enough, enough, None, LATER, RAILS).share == STEPS[0]


def test_all_clients_are_answered_for_several_steps_before_it_has_passed() -> None:
    assert decide(state(1.0), GOOD, GOOD, "challenger", 1_799.0, RAILS).move == "wait"
    found = decide(state(1.0), GOOD, GOOD, "challenger", 1_800.0, RAILS)
    assert (found.move, found.share) == ("passed", 1.0)
    after = moved(state(1.0), found, 1_800.0)
    assert (after.phase, after.clients, after.announced) == ("passed", 1.0, False)


def canary(points: float, *, failing: float = 0.0, seed: int) -> tuple[CanaryState, float]:
    """Let a challenger run for up to two days, and return its last state and its largest share of the clients.

    A minute has 500 requests, all mirrored where the champion answers; the models disagree on a tenth of them, and six
    disagreements get a label.
    """
    chance = np.random.default_rng(seed)
    now = CanaryState("running", version="v2")
    minutes: list[Exposure] = []
    labels: list[Disagreement] = []
    largest, verdict = 0.0, None
    for minute in range(2 * 24 * 60):
        asked = int(chance.binomial(500, now.share))
        pairs = 500 - asked
        disagreeing = int(chance.binomial(pairs, 0.1))
        minutes.append(Exposure(asked, int(chance.binomial(asked, failing)), 0.05, pairs, disagreeing))
        if verdict is None:
            right = chance.random(min(6, disagreeing)) < 0.5 + 5 * points
            labels += [Disagreement(bool(one), not one) for one in right]
            verdict = compare(labels).verdict
        at = 60.0 * (minute + 1)
        step = minutes[int(now.since // 60) :]
        now = moved(now, decide(now, _sum(step[-10:]), _sum(step), verdict, at, RAILS), at)
        largest = max(largest, now.share)
        if now.phase != "running":
            break
    return now, largest


def _sum(given: list[Exposure]) -> Exposure:
    asked = sum(one.asked for one in given)
    return Exposure(
        asked,
        sum(one.covered for one in given),
        0.05 if asked else None,
        sum(one.pairs for one in given),
        sum(one.disagreeing for one in given),
    )


def test_a_better_challenger_passes_and_a_worse_one_goes_back() -> None:
    better = [canary(0.02, seed=seed) for seed in range(20)]
    assert [found.phase for found, _ in better] == ["passed"] * 20
    worse = [canary(-0.02, seed=seed) for seed in range(20)]
    assert [found.phase for found, _ in worse] == ["back"] * 20
    assert all("champion is better" in found.reason for found, _ in worse)
    # Before the labels have decided it answers few.
    assert max(largest for _, largest in worse) <= RAILS.unproven


def test_a_better_challenger_that_fails_in_a_fifth_of_its_requests_goes_back_from_the_first_step() -> None:
    failing = [canary(0.02, failing=0.2, seed=seed) for seed in range(20)]
    assert [(found.phase, largest) for found, largest in failing] == [("back", STEPS[0])] * 20
    assert all("in its place" in found.reason for found, _ in failing)


def test_a_resumed_canary_begins_its_step_anew_and_knows_when_the_comparison_began() -> None:
    given = CanaryState("running", 0.25, "v2", since=5.0, began=1.0)
    paused = given.paused()
    assert (paused.clients, paused.share) == (0.0, 0.25)
    assert paused.resumed(9.0) == msgspec.structs.replace(given, since=9.0)
