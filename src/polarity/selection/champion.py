"""Whether the selected candidate replaces the champion: non-inferiority to it and to a fixed reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from polarity.config.sections import PolicyConfig
from polarity.evaluation.comparison import paired_differences
from polarity.evaluation.metrics import macro_f1
from polarity.evaluation.predictions import Predictions
from polarity.evaluation.verdict import ChampionComparison, Role, Verdict
from polarity.selection.decisions import Count, level_of


@dataclass(frozen=True)
class Opponent:
    """An earlier model that the selected candidate is compared with.

    Parameters
    ----------
    name : str
        Display name, e.g. `bilstm (version 3)`.
    role : str
        `champion` or `reference`.
    predictions : Predictions
        On the test tweets, in the candidate's order.
    learned : bool array of shape (n,)
        The test tweets that it learned from.
    """

    name: str
    role: Role
    predictions: Predictions
    learned: npt.NDArray[np.bool_]


def compare_with_champion(
    verdict: Verdict,
    selected: Predictions,
    opponents: Sequence[Opponent],
    *,
    count: Count,
    policy: PolicyConfig,
    seed: int,
    recent: npt.NDArray[np.bool_] | None = None,
    min_recent_rows: int = 0,
) -> Verdict:
    """Complete the verdict by comparing the selected candidate with the champion and the reference.

    The candidate replaces the champion if it is shown to be no more than the margin worse than each opponent, on the
    test tweets that the opponent did not learn from. Against the champion alone, quality could fall by the margin with
    every promotion. Both must hold, so the level is not divided between them (an intersection-union test; Berger 1982,
    Technometrics 24, 295-300), but it pays for the earlier decisions.

    Parameters
    ----------
    verdict : Verdict
        As returned by `select`.
    selected : Predictions
        Predictions of the selected candidate on the test split.
    opponents : sequence of Opponent
        The champion first; then, if it is another model, the reference.
    count : Count
        Number of this decision on this test set, and against this reference.
    policy : PolicyConfig
    seed : int
        Seed of the bootstrap.
    recent : bool array of shape (n,), optional
        The test tweets that came in since the file was made. With them the candidate must not be worse on the other
        tweets, and be better than the champion on these, both at the same level.
    min_recent_rows : int, default 0
        Minimum number of recent tweets for that.

    Raises
    ------
    ValueError
        If nothing is selected, there is no opponent, or they were measured on different tweets.
    """
    if verdict.selected is None:
        raise ValueError(
            "Got a verdict that selects nothing; a comparison with the champion needs a selected candidate."
        )
    if not opponents:
        raise ValueError("Got no opponents; the champion is required.")
    champion, level = opponents[0].name, level_of(count.decision, policy.error)
    comparisons = []
    for opponent in opponents:
        comparison = _compare(selected, opponent, count=count, level=level, policy=policy, seed=seed, but=recent)
        if isinstance(comparison, str):
            return withhold(verdict, champion, comparison)
        comparisons.append(comparison)
    on_recent = None
    if recent is not None:
        there = int((recent & ~opponents[0].learned).sum())
        if there < min_recent_rows:
            reason = (
                f"Only {there:,} recent test tweets with labels are left for a comparison with {champion}; "
                f"{min_recent_rows:,} are needed (data.recent.min_test_rows), so nothing is replaced."
            )
            return withhold(verdict, champion, reason)
        found = _compare(selected, opponents[0], count=count, level=level, policy=policy, seed=seed, but=~recent)
        if isinstance(found, str):
            return withhold(verdict, champion, found)
        on_recent = replace(found, part="recent")
    failed = next((comparison for comparison in comparisons if not comparison.not_worse), None)
    superior = all(comparison.superior for comparison in comparisons)
    if recent is not None:
        comparisons = [replace(comparison, part="old") for comparison in comparisons]
    if on_recent is not None:
        comparisons.append(on_recent)
    not_better = on_recent is not None and not on_recent.superior
    if not failed and not_better:
        outcome = f"it is not shown to be better than {champion} on the recent tweets, so {champion} stays"
    elif failed:
        outcome = f"it may be worse than {failed.opponent} by more than the margin of {policy.margin:g}"
        outcome += f", so {champion} stays"
    elif superior:
        outcome = f"it is significantly better than {champion} and replaces it"
    else:
        outcome = f"it is not worse than {champion} by more than the margin of {policy.margin:g} and replaces it"
    figures = "; ".join(_in_words(comparison) for comparison in comparisons)
    explanation = (
        f"{figures}. This test set has decided {_times(count.on_test_set)}, and the reference was challenged "
        f"{_times(count.against_reference)}, so the error level is {level:.2g}: {outcome}."
    )
    return replace(
        verdict,
        promote=failed is None and not not_better,
        basis="superior" if superior else "not inferior",
        champion_before=champion,
        comparisons=tuple(comparisons),
        reason=f"{verdict.reason} {explanation}",
    )


def with_best_reference(opponents: Sequence[Opponent]) -> list[Opponent]:
    """The champion, and the reference if that is another model: the best of all on the tweets that none learned from.

    Parameters
    ----------
    opponents : sequence of Opponent
        The champion first, then the former champions since the last superior promotion.
    """
    champion, *former = opponents
    kept = ~np.any([opponent.learned for opponent in opponents], axis=0)
    if not kept.any():
        return [champion, *former[:1]]
    n_labels = len(champion.predictions.label_names)
    scores = [
        macro_f1(of.predictions.labels[kept], of.predictions.predicted[kept], n_labels=n_labels) for of in opponents
    ]
    best = opponents[int(np.argmax(scores))]
    return [champion] if best is champion else [champion, best]


def withhold(verdict: Verdict, champion: str, reason: str) -> Verdict:
    """The verdict without a promotion, for a reason other than the comparison."""
    return replace(verdict, promote=False, champion_before=champion, reason=f"{verdict.reason} {reason}")


def _compare(
    selected: Predictions,
    opponent: Opponent,
    *,
    count: Count,
    level: float,
    policy: PolicyConfig,
    seed: int,
    but: npt.NDArray[np.bool_] | None = None,
) -> ChampionComparison | str:
    """The comparison with one opponent on the tweets that are not in `but`, or the reason why there is none."""
    against = opponent.predictions
    if not (len(selected) == len(against) == len(opponent.learned) and (selected.labels == against.labels).all()):
        raise ValueError(f"Got the candidate and {opponent.name!r} measured on different test tweets.")
    compared = np.ones(len(selected), bool) if but is None else ~but
    kept = compared & ~opponent.learned
    left_out = int((compared & opponent.learned).sum())
    if left_out and kept.sum() < policy.min_test_rows:
        return (
            f"{opponent.name} learned from {left_out:,} of the {compared.sum():,} test tweets, and the other "
            f"{kept.sum():,} are too few for a comparison (select.min_test_rows: {policy.min_test_rows:,}), so nothing "
            "is replaced."
        )
    labels, ours, theirs = selected.labels[kept], selected.predicted[kept], against.predicted[kept]
    groups = None if selected.groups is None else selected.groups[kept]
    n_labels = len(selected.label_names)
    difference, _ = paired_differences(
        labels, ours, theirs, n_labels=n_labels, seed=seed, resamples=policy.resamples, groups=groups
    )
    return ChampionComparison(
        opponent=opponent.name,
        role=opponent.role,
        rows=int(kept.sum()),
        left_out=left_out,
        macro_f1=macro_f1(labels, ours, n_labels=n_labels),
        opponent_macro_f1=macro_f1(labels, theirs, n_labels=n_labels),
        difference=difference,
        margin=policy.margin,
        level=level,
        on_test_set=count.on_test_set,
        against_reference=count.against_reference,
    )


def _in_words(of: ChampionComparison) -> str:
    whose = "the champion's" if of.role == "champion" else f"that of {of.opponent}, the best former champion,"
    kind = "" if of.part == "all" else f"{of.part} "
    without = f" ({of.left_out:,} that {of.opponent} learned from left out)" if of.left_out else ""
    return (
        f"On {of.rows:,} {kind}test tweets{without} its macro-F1 is {of.macro_f1:.3f} against {whose} "
        f"{of.opponent_macro_f1:.3f} (difference {of.difference.value:+.3f}, at least {of.bound:+.3f})"
    )


def _times(count: int) -> str:
    return "for the first time" if count == 1 else f"{count:,} times"
