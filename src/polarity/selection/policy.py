"""The policy: which candidate is chosen, and whether it may replace today's champion."""

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
    """A packaged model that asks to be chosen.

    Parameters
    ----------
    name, family : str
    latency_ms_p95 : float
        95th percentile of one text, in process.
    size_bytes : int
        Of the packaged model.
    validation : Predictions
        Of the packaged model, on the validation split.
    objections : tuple of str
        Why it must not be promoted whatever its score, e.g. a behaviour test below its limit.
    """

    name: str
    family: str
    latency_ms_p95: float
    size_bytes: int
    validation: Predictions
    objections: tuple[str, ...] = ()


def select(candidates: Sequence[Candidate], policy: PolicyConfig, *, seed: int) -> Verdict:
    """Choose among `candidates`, all measured on the same validation tweets.

    Those outside the limits or of another family than a pinned one are set
    aside. Of the rest the best validation macro-F1 leads; every candidate whose
    difference to it is within the paired-bootstrap interval is its equal, and
    of equals the cheapest is taken: the lowest p95 latency, then the smallest.

    Raises
    ------
    ValueError
        If there are no candidates, or they were measured on different tweets.
    """
    if not candidates:
        raise ValueError("Got no candidates; at least one is needed.")
    truth = candidates[0].validation.labels
    for candidate in candidates:
        if not (len(candidate.validation) == len(truth) and (candidate.validation.labels == truth).all()):
            raise ValueError(f"Got {candidate.name!r} measured on other tweets than {candidates[0].name!r}.")

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
        told = "; ".join(f"{standing.name}: {', '.join(standing.objections)}" for standing in standings)
        return Verdict(None, promote=False, reason=f"No candidate can be chosen. {told}.", standings=standings)

    equals = [c for c in eligible if c is best or behind[c.name].undecided]
    chosen = min(equals, key=_cost)
    return Verdict(
        selected=chosen.name,
        promote=True,
        reason=_why(chosen, best, equals, eligible, scores, behind),
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
    """The verdict after the chosen candidate has met the champion on the same test tweets.

    Parameters
    ----------
    verdict : Verdict
        As `select` gave it.
    selected, champion : Predictions
        Of the chosen candidate and of the champion, on the test split. No
        `champion` means that it cannot be measured on this class set, so that
        it is replaced.
    champion_name : str
        What to call the champion, e.g. `bilstm (version 3)`.

    Raises
    ------
    ValueError
        If nothing is selected, or both were measured on different tweets.
    """
    if verdict.selected is None:
        raise ValueError("Got a verdict that selects nothing; there is nothing to compare with the champion.")
    if champion is None:
        why = f"{champion_name} answers with another class set, so it is replaced."
        return replace(verdict, promote=True, champion_before=champion_name, reason=f"{verdict.reason} {why}")
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
        outcome = f"it is better than {champion_name} by more than chance, and replaces it"
    elif comparison.not_worse:
        outcome = f"it is not worse than {champion_name} by more than the margin of {policy.margin:g}, and replaces it"
    else:
        outcome = f"it may be worse than {champion_name} by more than the margin of {policy.margin:g}, which stays"
    why = (
        f"On {comparison.rows:,} test tweets its macro-F1 is {comparison.macro_f1:.3f} against the champion's "
        f"{comparison.champion_macro_f1:.3f} (difference {_told(difference)}): {outcome}."
    )
    return replace(
        verdict,
        promote=comparison.not_worse,
        champion_before=champion_name,
        against_champion=comparison,
        reason=f"{verdict.reason} {why}",
    )


def _objections(candidate: Candidate, policy: PolicyConfig) -> tuple[str, ...]:
    found = list(candidate.objections)
    if policy.family and candidate.family != policy.family:
        found.append(f"the family is pinned to {policy.family}")
    if candidate.latency_ms_p95 > policy.max_latency_ms:
        found.append(f"{candidate.latency_ms_p95:.1f} ms a text is over the limit of {policy.max_latency_ms:g} ms")
    if candidate.size_bytes > policy.max_size_mb * MEGABYTE:
        found.append(f"{candidate.size_bytes / MEGABYTE:.1f} MB is over the limit of {policy.max_size_mb:g} MB")
    return tuple(found)


def _cost(candidate: Candidate) -> tuple[float, int, str]:
    """What makes a candidate cheap. Tenths of a millisecond: less than that is noise of the clock."""
    return round(candidate.latency_ms_p95, 1), candidate.size_bytes, candidate.name


def _why(
    chosen: Candidate,
    best: Candidate,
    equals: Sequence[Candidate],
    eligible: Sequence[Candidate],
    scores: Mapping[str, float],
    behind: Mapping[str, Difference],
) -> str:
    price = f"{chosen.latency_ms_p95:.1f} ms a text, {chosen.size_bytes / MEGABYTE:.1f} MB"
    score = f"validation macro-F1 {scores[chosen.name]:.3f}"
    if len(eligible) == 1:
        return f"{chosen.name} is the only candidate within the limits ({score}; {price})."
    if chosen is not best:
        return (
            f"{chosen.name} is taken ({score}; {price}): {best.name} has {scores[best.name]:.3f}, but the difference "
            f"({_told(behind[chosen.name])}) may be chance, and {chosen.name} is cheaper than its "
            f"{best.latency_ms_p95:.1f} ms and {best.size_bytes / MEGABYTE:.1f} MB."
        )
    if len(equals) > 1:
        others = ", ".join(candidate.name for candidate in equals if candidate is not chosen)
        return f"{chosen.name} has the best {score}, and is cheaper ({price}) than its equals within chance: {others}."
    second = eligible[1].name
    told = f"{second} is behind it by more than chance ({_told(behind[second])})"
    return f"{chosen.name} has the best {score} ({price}); {told}."


def _told(difference: Difference) -> str:
    low, high = difference.interval
    return f"{difference.value:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"


def _macro_f1(predictions: Predictions) -> float:
    confusion = confusion_counts(predictions.labels, predictions.predicted, n_labels=len(predictions.label_names))
    return float(macro_f1_of(confusion[None])[0])
