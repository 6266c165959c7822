"""The policy: which candidate is selected, and whether it replaces the current champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from polarity.config.sections import PolicyConfig
from polarity.evaluation.comparison import Difference, paired_differences
from polarity.evaluation.metrics import confusion_counts, macro_f1_of
from polarity.evaluation.predictions import Predictions
from polarity.evaluation.verdict import ChampionComparison, Standing, Verdict

MEGABYTE = 1_000_000


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
    """

    name: str
    family: str
    latency_ms_p95: float
    size_bytes: int
    validation: Predictions
    objections: tuple[str, ...] = ()


def select(candidates: Sequence[Candidate], policy: PolicyConfig, *, seed: int) -> Verdict:
    """Select among `candidates`, all measured on the same validation tweets.

    Candidates outside the limits, or not of the pinned family, are excluded. The
    rest are compared with the one that has the best validation macro-F1: a
    candidate is equivalent to it if the paired-bootstrap interval of their
    difference includes zero. Of the equivalent candidates the cheapest is
    selected: the lowest p95 latency, then the smallest size.

    Raises
    ------
    ValueError
        If there are no candidates, or they were measured on different tweets.
    """
    if not candidates:
        raise ValueError("Got no candidates; at least one is required.")
    truth = candidates[0].validation.labels
    for candidate in candidates:
        if not (len(candidate.validation) == len(truth) and (candidate.validation.labels == truth).all()):
            raise ValueError(f"Got {candidate.name!r} measured on different tweets than {candidates[0].name!r}.")

    objections = {candidate.name: _objections(candidate, policy) for candidate in candidates}
    scores = {candidate.name: _macro_f1(candidate.validation) for candidate in candidates}
    eligible = sorted((c for c in candidates if not objections[c.name]), key=lambda c: (-scores[c.name], _cost(c)))
    best = eligible[0] if eligible else None

    behind: dict[str, Difference] = {}
    for candidate in candidates:
        if best is not None and candidate is not best:
            behind[candidate.name], _ = paired_differences(
                truth,
                candidate.validation.predicted,
                best.validation.predicted,
                n_labels=len(best.validation.label_names),
                seed=seed,
                resamples=policy.resamples,
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
        )
        for candidate in sorted(candidates, key=lambda c: (bool(objections[c.name]), -scores[c.name]))
    )
    if best is None:
        objected = "; ".join(f"{standing.name}: {', '.join(standing.objections)}" for standing in standings)
        return Verdict(None, promote=False, reason=f"No candidate can be selected. {objected}.", standings=standings)

    equivalent = [c for c in eligible if c is best or behind[c.name].inconclusive]
    chosen = min(equivalent, key=_cost)
    return Verdict(
        selected=chosen.name,
        promote=True,
        reason=_reason(chosen, best, equivalent, eligible, scores, behind),
        standings=standings,
    )


def compare_with_champion(
    verdict: Verdict,
    selected: Predictions,
    *,
    champion_name: str,
    champion: Predictions | None,
    policy: PolicyConfig,
    seed: int,
) -> Verdict:
    """Complete the verdict by comparing the selected candidate with the champion on the same test tweets.

    Parameters
    ----------
    verdict : Verdict
        As returned by `select`.
    selected, champion : Predictions
        Predictions of the selected candidate and of the champion on the test
        split. A `champion` of None cannot be measured on this class set and
        is replaced.
    champion_name : str
        Display name of the champion, e.g. `bilstm (version 3)`.

    Raises
    ------
    ValueError
        If nothing is selected, or the two were measured on different tweets.
    """
    if verdict.selected is None:
        raise ValueError(
            "Got a verdict that selects nothing; a comparison with the champion needs a selected candidate."
        )
    if champion is None:
        outcome = f"{champion_name} has a different class set, so it is replaced."
        return replace(verdict, promote=True, champion_before=champion_name, reason=f"{verdict.reason} {outcome}")
    if not (len(selected) == len(champion) and (selected.labels == champion.labels).all()):
        raise ValueError(f"Got {verdict.selected!r} and {champion_name!r} measured on different test tweets.")
    difference, _ = paired_differences(
        selected.labels,
        selected.predicted,
        champion.predicted,
        n_labels=len(selected.label_names),
        seed=seed,
        resamples=policy.resamples,
    )
    comparison = ChampionComparison(
        champion=champion_name,
        rows=len(selected),
        macro_f1=_macro_f1(selected),
        champion_macro_f1=_macro_f1(champion),
        difference=difference,
        margin=policy.margin,
    )
    if difference.interval[0] > 0:
        outcome = f"it is significantly better than {champion_name} and replaces it"
    elif comparison.not_worse:
        outcome = f"it is not worse than {champion_name} by more than the margin of {policy.margin:g} and replaces it"
    else:
        outcome = f"it may be worse by more than the margin of {policy.margin:g}, so {champion_name} stays"
    explanation = (
        f"On {comparison.rows:,} test tweets its macro-F1 is {comparison.macro_f1:.3f} against the champion's "
        f"{comparison.champion_macro_f1:.3f} (difference {_with_interval(difference)}): {outcome}."
    )
    return replace(
        verdict,
        promote=comparison.not_worse,
        champion_before=champion_name,
        against_champion=comparison,
        reason=f"{verdict.reason} {explanation}",
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
    equivalent: Sequence[Candidate],
    eligible: Sequence[Candidate],
    scores: Mapping[str, float],
    behind: Mapping[str, Difference],
) -> str:
    cost = f"{chosen.latency_ms_p95:.1f} ms per text, {chosen.size_bytes / MEGABYTE:.1f} MB"
    score = f"validation macro-F1 {scores[chosen.name]:.3f}"
    if len(eligible) == 1:
        return f"{chosen.name} is the only candidate within the limits ({score}; {cost})."
    if chosen is not best:
        return (
            f"{chosen.name} is selected ({score}; {cost}): {best.name} has {scores[best.name]:.3f}, but the difference "
            f"({_with_interval(behind[chosen.name])}) is not significant, and {chosen.name} is cheaper than its "
            f"{best.latency_ms_p95:.1f} ms and {best.size_bytes / MEGABYTE:.1f} MB."
        )
    if len(equivalent) > 1:
        others = ", ".join(candidate.name for candidate in equivalent if candidate is not chosen)
        return f"{chosen.name} has the best {score} and is cheaper ({cost}) than the equivalent candidates: {others}."
    second = eligible[1].name
    gap = f"{second} is significantly worse ({_with_interval(behind[second])})"
    return f"{chosen.name} has the best {score} ({cost}); {gap}."


def _with_interval(difference: Difference) -> str:
    low, high = difference.interval
    return f"{difference.value:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"


def _macro_f1(predictions: Predictions) -> float:
    confusion = confusion_counts(predictions.labels, predictions.predicted, n_labels=len(predictions.label_names))
    return float(macro_f1_of(confusion[None])[0])
