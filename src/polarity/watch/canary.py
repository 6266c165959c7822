"""The canary: how many of the clients a challenger answers, decided from what was measured since the last step.

`decide` is a pure function; the monitor calls it each minute and stores what it returns. A challenger begins with one
per cent of the clients and goes up step by step while the guard rails hold. It gets more than a few clients only after
labels have shown that it is better (`polarity.watch.disagreements`). It goes back to none as soon as a guard rail is
broken beyond chance, or the labels show that the champion is better.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec
from scipy.special import betaincinv

from polarity.pipeline.config import CanaryConfig
from polarity.record.canary import CanaryState, Phase
from polarity.watch.disagreements import Verdict
from polarity.watch.measure import in_time

Move = Literal["up", "wait", "back", "passed"]

STEPS = (0.01, 0.05, 0.25, 0.5, 1.0)
"""Shares of the clients, in the order in which they are tried."""
# The monitor looks each minute, so a guard rail that holds must hardly ever seem to be broken.
_CHANCE = 1e-4
_SECONDS_PER_MINUTE, _EARLY_S = 60, 20


@dataclass(frozen=True)
class Exposure:
    """What was measured of a challenger in a span of time.

    Attributes
    ----------
    asked, covered : int
        Requests of clients that it was asked, and those of them that the champion answered in its place.
    p99_s : float or None
        Of the requests that it answered; None without any.
    pairs, disagreeing : int
        Mirrored texts that both models answered, and those that they answered differently.
    """

    asked: int = 0
    covered: int = 0
    p99_s: float | None = None
    pairs: int = 0
    disagreeing: int = 0


@dataclass(frozen=True)
class Decision:
    """What happens to the canary, the share of the clients from then on, and why."""

    move: Move
    share: float
    reason: str


def decide(
    state: CanaryState,
    recent: Exposure,
    step: Exposure,
    evidence: Verdict | None,
    now: float,
    rails: CanaryConfig,
) -> Decision:
    """Decide whether the challenger gets more clients, keeps those it has, or gets none.

    Parameters
    ----------
    state : CanaryState
        What stands. What a person paused stays so, and so does what has gone back.
    recent, step : Exposure
        Of the last minutes, and since the present step began. Either can break a guard rail.
    evidence : {'challenger', 'champion'} or None
        Which model the labels show to be better.
    now : float
        Seconds since 1970.
    rails : CanaryConfig

    Returns
    -------
    Decision
    """
    share = state.share
    if state.phase in ("off", "paused", "back"):
        return Decision("wait", share, state.reason)
    if evidence == "champion":
        return Decision("back", 0.0, "The labels show that the champion is better.")
    for exposure in (recent, step):
        if (broken := _broken(exposure, rails)) is not None:
            return Decision("back", 0.0, broken)
    if state.phase != "running":
        return Decision("wait", share, state.reason)
    if (lacking := _lacking(state, step, now, rails)) is not None:
        return Decision("wait", share, lacking)
    if share >= STEPS[-1]:
        return Decision("passed", share, f"All guard rails have held at 100 % of the clients for {_lasting(rails)}.")
    following = next(one for one in STEPS if one > share)
    if following > rails.unproven and evidence is None:
        return Decision("wait", share, f"Labels have not shown yet that it is better, which {following:.0%} requires.")
    shown = ", and the labels show that it is better" if evidence else ""
    return Decision("up", following, f"The guard rails have held at {share:.0%} of the clients{shown}.")


def _broken(of: Exposure, rails: CanaryConfig) -> str | None:
    """Which guard rail is broken beyond chance, in words."""
    if _surely_above(of.covered, of.asked, rails.covered):
        return (
            f"The champion answered {of.covered:,} of its {of.asked:,} requests in its place; the limit is "
            f"{rails.covered:.1%}."
        )
    if _surely_above(of.disagreeing, of.pairs, 1 - rails.agreement):
        return (
            f"It answers {of.pairs - of.disagreeing:,} of {of.pairs:,} texts as the champion does; at least "
            f"{rails.agreement:.0%} is required."
        )
    if of.asked >= rails.requests and of.p99_s is not None and of.p99_s > rails.p99_s:
        return f"Its 99th percentile is {in_time(of.p99_s)}; the limit is {in_time(rails.p99_s)}."
    return None


def _lacking(state: CanaryState, step: Exposure, now: float, rails: CanaryConfig) -> str | None:
    """What is lacking for the next step, in words."""
    full = state.share >= STEPS[-1]
    needed_s = rails.step_s * (rails.last_steps if full else 1)
    if (left_s := state.since + needed_s - now) > 0:
        return f"The step at {state.share:.0%} of the clients lasts for another {in_time(left_s)} at least."
    seen, what = (step.asked, "requests") if state.share else (step.pairs, "mirrored texts")
    if seen < rails.requests:
        return f"It has answered {seen:,} {what} at {state.share:.0%} of the clients; {rails.requests:,} are required."
    if step.covered > rails.covered * step.asked:
        return f"The champion answered {step.covered:,} of its {step.asked:,} requests, by chance or not."
    if step.disagreeing > (1 - rails.agreement) * step.pairs:
        return f"It contradicts the champion in {step.disagreeing:,} of {step.pairs:,} texts, by chance or not."
    if step.p99_s is not None and step.p99_s > rails.p99_s:
        return f"Its 99th percentile is {in_time(step.p99_s)}; the limit is {in_time(rails.p99_s)}."
    return None


def _surely_above(part: int, whole: int, limit: float) -> bool:
    """Whether a share is above its limit beyond chance, by the exact binomial bound (Clopper and Pearson 1934)."""
    return part > limit * whole and float(betaincinv(part, whole - part + 1, _CHANCE)) > limit


def _lasting(rails: CanaryConfig) -> str:
    return in_time(rails.last_steps * rails.step_s)


def moved(state: CanaryState, decision: Decision, now: float) -> CanaryState:
    """The state after a decision; a step, or the end of all steps, is to be announced.

    Traffic is counted by the minute, and only whole minutes belong to a step. One that is decided as soon as a minute's
    counts have come begins with that minute, or each step would wait for a minute that it has nearly seen.
    """
    if decision.move == "wait":
        return msgspec.structs.replace(state, reason=decision.reason)
    phase: Phase = {"up": "running", "back": "back", "passed": "passed"}[decision.move]  # type: ignore[assignment]
    late_s = now % _SECONDS_PER_MINUTE
    since = now - late_s if decision.move == "up" and late_s <= _EARLY_S else now
    return msgspec.structs.replace(
        state, phase=phase, share=decision.share, since=since, reason=decision.reason, announced=False
    )
