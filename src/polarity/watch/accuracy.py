"""The accuracy in production by model version, day and slice: each figure with its interval and its method."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from polarity.record.history import RecordedAnswer, is_reviewed
from polarity.watch.density_ratio import reweighted_calibration
from polarity.watch.drift import AnsweredTweets
from polarity.watch.estimates import Estimate
from polarity.watch.expected_accuracy import ConfidenceCalibration, expected_accuracy
from polarity.watch.labelled_sample import LabelledSample, labels_only, prediction_powered
from polarity.watch.volunteered import VolunteeredAgreement

Slice = Literal["source", "script", "length"]

# Answers by which a reference is reweighted: more would make no difference that the interval does not have anyway.
_SAMPLED = 2_000


@dataclass(frozen=True)
class AccuracyRow:
    """What is known of the accuracy of some answers.

    Attributes
    ----------
    version : str
    day : str
        ISO 8601, UTC; empty: all days.
    slice : str
        Empty: all answers.
    answers, drawn : int
        Number of answers, and of those that were drawn for review.
    estimates : tuple of Estimate
        From labels of the drawn answers, alone and with the model's confidence, and from its confidence alone, as it
        is and with the reference reweighted; those that are possible.
    volunteered : VolunteeredAgreement
        What users reported of their own accord; no accuracy.
    """

    version: str
    day: str
    slice: str
    answers: int
    drawn: int
    estimates: tuple[Estimate, ...]
    volunteered: VolunteeredAgreement


@dataclass
class _Group:
    scores: array[float] = field(default_factory=lambda: array("d"))
    drawn: int = 0
    rows: list[int] = field(default_factory=list)
    inclusion: list[float] = field(default_factory=list)
    correct: list[bool] = field(default_factory=list)
    agrees: list[bool] = field(default_factory=list)
    sampled: list[RecordedAnswer] = field(default_factory=list)
    random: random.Random = field(default_factory=lambda: random.Random(0))

    def add(self, answer: RecordedAnswer) -> None:
        if is_reviewed(answer):
            self.rows.append(len(self.scores))
            self.inclusion.append(answer.draw_probability or 0.0)
            self.correct.append(answer.label == answer.sentiment)
        elif answer.origin == "volunteered":
            self.agrees.append(answer.label == answer.sentiment)
        self.scores.append(answer.score)
        self.drawn += bool(answer.drawn)
        # A uniform sample of those so far (Vitter 1985, ACM TOMS 11, 37-57, algorithm R).
        if len(self.sampled) < _SAMPLED:
            self.sampled.append(answer)
        elif (place := self.random.randrange(len(self.scores))) < _SAMPLED:
            self.sampled[place] = answer


def accuracy_rows(
    found: Iterable[RecordedAnswer],
    *,
    daily: bool = False,
    by: Slice | None = None,
    calibration: Callable[[str], ConfidenceCalibration | None] = lambda _: None,
    held_out: Callable[[str], AnsweredTweets | None] = lambda _: None,
) -> list[AccuracyRow]:
    """Estimate the accuracy of recorded answers.

    Parameters
    ----------
    found : iterable of RecordedAnswer
        In any order.
    daily : bool
        Whether each day has a row.
    by : {'source', 'script', 'length'}, optional
        What to slice by. Default: all answers of a version together.
    calibration : callable, optional
        Returns what a version's confidence is worth. Versions without a calibration have no figure without labels.
    held_out : callable, optional
        Returns tweets that a version was not fitted on, with whether it answers them correctly, to be reweighted.

    Returns
    -------
    list of AccuracyRow
        By version, day and slice.
    """
    slice_of: Callable[[RecordedAnswer], str] = _SLICES[by] if by else lambda _: ""
    groups: dict[tuple[str, str, str], _Group] = {}
    for answer in found:
        day = datetime.fromtimestamp(answer.at, UTC).strftime("%Y-%m-%d") if daily else ""
        groups.setdefault((answer.version, day, slice_of(answer)), _Group()).add(answer)
    return [_row(*key, group, calibration(key[0]), held_out(key[0])) for key, group in sorted(groups.items())]


def _row(
    version: str,
    day: str,
    name: str,
    group: _Group,
    calibration: ConfidenceCalibration | None,
    held_out: AnsweredTweets | None,
) -> AccuracyRow:
    scores = np.frombuffer(group.scores, dtype=np.float64)
    estimates: list[Estimate] = []
    if group.rows:
        sample = LabelledSample(len(scores), group.rows, group.inclusion, group.correct, group.drawn)
        estimates += [labels_only(sample), prediction_powered(sample, scores)]
    if calibration is not None:
        estimates.append(expected_accuracy(calibration, scores))
    if held_out is not None:
        of_sampled = np.array([answer.score for answer in group.sampled])
        window = AnsweredTweets.recorded(group.sampled, of_sampled[:, None])
        if (reweighted := reweighted_calibration(held_out, window, of_sampled)) is not None:
            estimates.append(expected_accuracy(reweighted, scores))
    agreeing = VolunteeredAgreement(len(group.agrees), sum(group.agrees), len(scores))
    return AccuracyRow(version, day, name, len(scores), group.drawn, tuple(estimates), agreeing)


def _length(answer: RecordedAnswer) -> str:
    if answer.characters <= 50:
        return "up to 50 characters"
    return "51 to 100 characters" if answer.characters <= 100 else "over 100 characters"


_SLICES: dict[Slice, Callable[[RecordedAnswer], str]] = {
    "source": lambda answer: answer.source or "(none named)",
    "script": lambda answer: answer.script or "(none)",
    "length": _length,
}
