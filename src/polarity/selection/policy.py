"""The policy: which candidate of a run is selected, by validation and by its costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import norm

from polarity.config.sections import PolicyConfig
from polarity.evaluation.comparison import Difference, paired_differences
from polarity.evaluation.metrics import macro_f1
from polarity.evaluation.predictions import Predictions
from polarity.evaluation.verdict import Standing, Verdict

MEGABYTE = 1_000_000
EQUIVALENCE_ERROR = 0.05
"""Probability that a candidate which is worse by the equivalence margin is taken for an equivalent one."""


@dataclass(frozen=True)
class Candidate:
    """A packaged model that is eligible for selection.

    Parameters
    ----------
    name, family : str
    latency_ms_p95 : float
        95th percentile of the latency for one text, in process.
    size_bytes : int
        Size of the packaged model.
    validation : Predictions
        Predictions of the packaged model on the validation split.
    objections : tuple of str
        Reasons not to promote it whatever its score, e.g. a behaviour test below its limit.
    latency_machine : str
        The machine on which the latency was measured; all candidates must have the same.
    """

    name: str
    family: str
    latency_ms_p95: float
    size_bytes: int
    validation: Predictions
    objections: tuple[str, ...] = ()
    latency_machine: str = ""


def select(candidates: Sequence[Candidate], policy: PolicyConfig, *, seed: int) -> Verdict:
    """Select among `candidates`, all measured on the same validation tweets.

    Candidates outside the limits, or not of the pinned family, are excluded. Of
    the rest, the one with the best validation macro-F1 is selected, unless a
    cheaper one (lower p95 latency, then smaller size) is shown to be equivalent:
    the lower confidence bound of its difference from the best lies above minus
    the equivalence margin (one side of Schuirmann's two one-sided tests, 1987,
    J. Pharmacokinetics and Biopharmaceutics 15, 657-680; a candidate with the
    best score can only be worse on the other side). The error level of 5 % is
    shared by all cheaper candidates (Bonferroni). A difference that may be
    chance does not show equivalence.

    Raises
    ------
    ValueError
        If there are no candidates, or they were measured on different tweets or machines.
    """
    if not candidates:
        raise ValueError("Got no candidates; at least one is required.")
    truth = candidates[0].validation.labels
    for candidate in candidates:
        if not (len(candidate.validation) == len(truth) and (candidate.validation.labels == truth).all()):
            raise ValueError(f"Got {candidate.name!r} measured on different tweets than {candidates[0].name!r}.")

    machines = {candidate.latency_machine for candidate in candidates}
    if len(machines) > 1:
        raise ValueError(f"Got latencies of different machines ({'; '.join(machines)}); they cannot be compared.")
    objections = {candidate.name: _objections(candidate, policy) for candidate in candidates}
    n_labels = len(candidates[0].validation.label_names)
    scores = {c.name: macro_f1(truth, c.validation.predicted, n_labels=n_labels) for c in candidates}
    eligible = sorted((c for c in candidates if not objections[c.name]), key=lambda c: (-scores[c.name], _cost(c)))
    best = eligible[0] if eligible else None

    behind: dict[str, Difference] = {}
    for candidate in candidates:
        if best is not None and candidate is not best:
            behind[candidate.name], _ = paired_differences(
                truth,
                candidate.validation.predicted,
                best.validation.predicted,
                n_labels=n_labels,
                seed=seed,
                resamples=policy.resamples,
                groups=candidate.validation.groups,
            )
    standings = tuple(
        Standing(
            name=candidate.name,
            family=candidate.family,
            macro_f1=scores[candidate.name],
            latency_ms_p95=candidate.latency_ms_p95,
            size_bytes=candidate.size_bytes,
            objections=objections[candidate.name],
            behind_best=behind.get(candidate.name),
            latency_machine=candidate.latency_machine,
        )
        for candidate in sorted(candidates, key=lambda c: (bool(objections[c.name]), -scores[c.name]))
    )
    if best is None:
        objected = "; ".join(f"{standing.name}: {', '.join(standing.objections)}" for standing in standings)
        return Verdict(None, promote=False, reason=f"No candidate can be selected. {objected}.", standings=standings)

    cheaper = [c for c in eligible if _cost(c) < _cost(best)]
    level = EQUIVALENCE_ERROR / max(1, len(cheaper))
    equivalent = [c for c in cheaper if behind[c.name].lower_bound(level) > -policy.equivalence]
    chosen = min([best, *equivalent], key=_cost)
    return Verdict(
        selected=chosen.name,
        promote=True,
        reason=_reason(chosen, best, cheaper, eligible, scores, behind, policy.equivalence, level),
        standings=standings,
    )


def _objections(candidate: Candidate, policy: PolicyConfig) -> tuple[str, ...]:
    found = list(candidate.objections)
    if policy.family and candidate.family != policy.family:
        found.append(f"the family is pinned to {policy.family}")
    if candidate.latency_ms_p95 > policy.max_latency_ms:
        found.append(f"{candidate.latency_ms_p95:.1f} ms per text is over the limit of {policy.max_latency_ms:g} ms")
    if candidate.size_bytes > policy.max_size_mb * MEGABYTE:
        found.append(f"{candidate.size_bytes / MEGABYTE:.1f} MB is over the limit of {policy.max_size_mb:g} MB")
    return tuple(found)


def _cost(candidate: Candidate) -> tuple[float, int, str]:
    """The sort key for cost. Latency is rounded to 0.1 ms, since smaller differences are noise."""
    return round(candidate.latency_ms_p95, 1), candidate.size_bytes, candidate.name


def _reason(
    chosen: Candidate,
    best: Candidate,
    cheaper: Sequence[Candidate],
    eligible: Sequence[Candidate],
    scores: Mapping[str, float],
    behind: Mapping[str, Difference],
    margin: float,
    level: float,
) -> str:
    cost = f"{chosen.latency_ms_p95:.1f} ms per text, {chosen.size_bytes / MEGABYTE:.1f} MB"
    score = f"validation macro-F1 {scores[chosen.name]:.3f}"
    if len(eligible) == 1:
        return f"{chosen.name} is the only candidate within the limits ({score}; {cost})."
    if chosen is not best:
        difference = behind[chosen.name]
        return (
            f"{chosen.name} is selected ({score}; {cost}): {best.name} has {scores[best.name]:.3f}, but {chosen.name} "
            f"is shown to be equivalent (difference {difference.value:+.3f}, at least "
            f"{difference.lower_bound(level):+.3f}; the equivalence margin is {margin:g}) and is cheaper than its "
            f"{best.latency_ms_p95:.1f} ms and {best.size_bytes / MEGABYTE:.1f} MB."
        )
    undecided = [candidate for candidate in cheaper if behind[candidate.name].inconclusive]
    if undecided:
        nearest = min(undecided, key=lambda candidate: -scores[candidate.name])
        difference = behind[nearest.name]
        needed = _rows_to_settle(difference, len(best.validation), margin, level)
        return (
            f"{chosen.name} has the best {score} ({cost}). {nearest.name} is cheaper, and the difference may be chance "
            f"({_with_interval(difference)}), but it is not shown to be within the equivalence margin of {margin:g}; "
            f"{needed} would settle it."
        )
    second = eligible[1].name
    how = "is not significantly worse, but not cheaper" if behind[second].inconclusive else "is significantly worse"
    return f"{chosen.name} has the best {score} ({cost}); {second} {how} ({_with_interval(behind[second])})."


def _rows_to_settle(difference: Difference, rows: int, margin: float, level: float) -> str:
    """About how many validation tweets would show a difference of this size to be inside the margin, or significant."""
    gap, se = abs(difference.value), difference.standard_error
    needed = []
    if gap < margin:
        needed.append((float(norm.isf(level)) * se / (margin - gap)) ** 2)
    if gap > 0:
        needed.append((float(norm.isf(0.025)) * se / gap) ** 2)
    return f"about {max(rows + 1, round(rows * min(needed), -2)):,.0f} validation tweets" if needed else "more tweets"


def _with_interval(difference: Difference) -> str:
    low, high = difference.interval
    return f"{difference.value:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
