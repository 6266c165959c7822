"""How the challenger stands: where it is, how often it agrees, and what the labels say."""

from __future__ import annotations

import msgspec

from polarity.pipeline.config import CanaryConfig
from polarity.record import durations
from polarity.record.canary import CanaryState
from polarity.record.challenge import ChallengeSet, read_challenge
from polarity.record.history import LabelledPair, PairTotal, Span, labelled_pairs, pair_totals, traffic_total
from polarity.record.labelling import LEAST_INCLUSION
from polarity.record.store import RecordStore
from polarity.watch.canary import Exposure, decide, moved
from polarity.watch.disagreements import Comparison, Disagreement, compare
from polarity.watch.measure import moment


def comparison_of(store: RecordStore, span: Span, total: PairTotal) -> Comparison:
    """Compare a version with a challenger by the labels that were asked for."""
    pairs = labelled_pairs(store, span, total.version, total.challenger)
    return compare([_disagreement(pair) for pair in pairs], least_inclusion=LEAST_INCLUSION)


def weigh_canary(store: RecordStore, state: CanaryState, now: float, rails: CanaryConfig) -> CanaryState:
    """The next state of a canary, from what has been recorded.

    A challenger that serves another model than before begins anew, as a new one.
    """
    pair = next(iter(pair_totals(store, Span(state.began, now))), None)
    if pair is None and not state.version:
        return msgspec.structs.replace(state, reason="It has not answered a mirrored text yet.")
    if pair is not None and pair.challenger != state.version and state.phase == "running":
        reason = f"It serves {pair.challenger} now, which begins anew." if state.version else ""
        begun = now if state.version else state.began
        return CanaryState("running", 0.0, pair.challenger, now, begun, reason)
    recent = exposure_of(store, Span(max(state.since, now - rails.step_s), now), pair)
    step = exposure_of(store, Span(state.since, now), pair)
    # One that answers nothing has no pairs, and is judged by what the champion had to answer in its place.
    evidence = None if pair is None else comparison_of(store, Span(state.began, now), pair).verdict
    return moved(state, decide(state, recent, step, evidence, now, rails), now)


def exposure_of(store: RecordStore, span: Span, pair: PairTotal | None) -> Exposure:
    """What was measured of a challenger in a span of time; `pair` says which models are compared."""
    traffic = traffic_total(store, span)
    versions = None if pair is None else (pair.version, pair.challenger)
    mirrored = [one for one in pair_totals(store, span) if (one.version, one.challenger) == versions]
    return Exposure(
        traffic.challenged,
        traffic.covered,
        durations.quantile(traffic.challenger_seconds, 0.99),
        sum(one.pairs for one in mirrored),
        sum(one.disagreeing for one in mirrored),
    )


def canary_in_words(state: CanaryState) -> str:
    """How far the canary has come, and why, on one line.

    Examples
    --------
    >>> canary_in_words(CanaryState("running", 0.05, "v2", reason="Its step lasts for another 2 min at least."))
    'canary of v2: running, 5 % of the clients. Its step lasts for another 2 min at least.'
    """
    standing = f"canary of {state.version or 'a model not seen yet'}: {state.phase}, {state.clients * 100:g} % of the"
    return f"{standing} clients. {state.reason}".rstrip()


def challenge_lines(store: RecordStore, span: Span) -> list[str]:
    """The challenge, and a line for each pair of versions that was compared within the span."""
    found = read_challenge(store)
    lines = [_in_words(found)]
    if found is not None and found.canary.phase != "off":
        lines.append(canary_in_words(found.canary))
    for total in pair_totals(store, span):
        agreement = 1 - total.disagreeing / total.pairs
        lines.append(
            f"{total.challenger} against {total.version}: {total.pairs:,} texts, {agreement:.1%} answered alike; "
            f"{comparison_of(store, span, total).in_words()}"
        )
    return lines


def _in_words(given: ChallengeSet | None) -> str:
    if given is None:
        return "No challenge has been set; servers follow POLARITY_CHALLENGER."
    what = (
        f"{given.challenge.share:.0%} of the answered texts are mirrored to {given.challenge.address}"
        if given.challenge.address
        else "Nothing is mirrored"
    )
    return f"{what}, as {given.by} said at {moment(given.at)}{f' ({given.reason})' if given.reason else ''}."


def _disagreement(pair: LabelledPair) -> Disagreement:
    return Disagreement(pair.challenger_sentiment == pair.label, pair.sentiment == pair.label, pair.inclusion)
