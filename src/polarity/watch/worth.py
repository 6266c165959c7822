"""Whether a training pays: the wrong answers that a new model could avoid, against the price of a training.

After Modyn's cost trigger (Boether et al. 2025, Modyn: Data-Centric Machine Learning Pipeline Orchestration, SIGMOD).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from polarity.config.sections import RetrainConfig
from polarity.record.history import SECONDS_PER_HOUR, RecordedAnswer, Span, answers, is_reviewed
from polarity.record.store import RecordStore
from polarity.watch.labelled_sample import LabelledSample, labels_only

_DAY_S = 24 * SECONDS_PER_HOUR


@dataclass(frozen=True)
class Worth:
    """Whether to train, and why in words."""

    train: bool
    reason: str


def within_budget(started: Sequence[float], config: RetrainConfig, now: float) -> Worth:
    """Whether cool-down and budget allow a training.

    Parameters
    ----------
    started : sequence of float
        When earlier trainings started, in seconds since 1970.
    config : RetrainConfig
    now : float
    """
    hours = min(((now - at) / SECONDS_PER_HOUR for at in started), default=float("inf"))
    if hours < config.cool_down_h:
        return Worth(
            False,
            f"The last training started {hours:.1f} h ago; the cool-down is {config.cool_down_h:g} h "
            "(retrain.cool_down_h).",
        )
    week = sum(now - at < 7 * _DAY_S for at in started)
    if week >= config.per_week:
        return Worth(
            False,
            f"{week} trainings started within seven days; the budget is {config.per_week} (retrain.per_week).",
        )
    return Worth(True, "")


def worth_training(
    store: RecordStore, version: str, reference: float | None, config: RetrainConfig, now: float | None = None
) -> Worth:
    """Compare what the champion's errors cost with what a training costs.

    The answers of the last `horizon_days` stand for those of the next. A new model is taken to be as good as the
    champion was on its test tweets: then every wrong answer beyond its error rate there is avoidable. Labels of a
    review estimate the accuracy; if there are too few of them, all labels do, and the reason says so, since users
    choose what they report.

    Parameters
    ----------
    store : RecordStore
    version : str
        Of the champion.
    reference : float or None
        Its accuracy on its test tweets.
    config : RetrainConfig
    now : float, optional
        Seconds since 1970.
    """
    now = time.time() if now is None else now
    found = list(answers(store, Span(now - config.horizon_days * _DAY_S, now + 1), version=version))
    labelled = [answer for answer in found if answer.label is not None]
    reviewed = [answer for answer in labelled if is_reviewed(answer)]
    if reference is None:
        return Worth(False, "What a training could gain is not known: the champion's test accuracy is not recorded.")
    if len(labelled) < config.min_labels:
        return Worth(
            False,
            f"What a training could gain is not known: the champion has {len(labelled):,} labelled answers of the "
            f"last {config.horizon_days:g} days; {config.min_labels:,} are needed (retrain.min_labels).",
        )
    if len(reviewed) >= config.min_labels:
        accuracy, whence = _by_review(found, reviewed), f"by {len(reviewed):,} reviewed answers"
    else:
        accuracy = sum(answer.label == answer.sentiment for answer in labelled) / len(labelled)
        whence = f"by {len(labelled):,} labels, most of which people chose to give"
    first = min(answer.at for answer in found)
    per_day = len(found) / max(1.0, (now - first) / _DAY_S)
    avoidable = per_day * max(0.0, reference - accuracy)
    gain = avoidable * config.error_price * config.horizon_days
    pays = gain > config.price
    return Worth(
        pays,
        f"The champion is right in {accuracy:.1%} of its answers ({whence}), on its test tweets in {reference:.1%}: of "
        f"{per_day:,.0f} answers a day {avoidable:,.1f} wrong ones are avoidable. At {config.error_price:g} each they "
        f"cost {gain:,.2f} in {config.horizon_days:g} days, a training costs {config.price:,.2f}, so it "
        f"{'pays' if pays else 'does not pay'}.",
    )


def _by_review(found: Sequence[RecordedAnswer], reviewed: Sequence[RecordedAnswer]) -> float:
    place = {answer.id: at for at, answer in enumerate(found)}
    sample = LabelledSample(
        len(found),
        [place[answer.id] for answer in reviewed],
        [answer.draw_probability or 0.0 for answer in reviewed],
        [answer.label == answer.sentiment for answer in reviewed],
        sum(bool(answer.drawn) for answer in found),
    )
    return labels_only(sample).value
