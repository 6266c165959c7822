"""Judge each complete window of a version's answers once, by the reference that is packed with its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from polarity.bento import store as bento_store
from polarity.config.sections import DriftConfig
from polarity.evaluation.predictions import Predictions
from polarity.inference.package import DRIFT_REFERENCE
from polarity.record.store import RecordStore
from polarity.record.windows import JudgedWindow, WindowAnswer, next_answers, note_window
from polarity.text.origins import ORIGIN, RECENT
from polarity.text.words import KnownWords
from polarity.watch.confidence import calibration_from, calibration_of
from polarity.watch.density_ratio import reweighted_calibration
from polarity.watch.drift import AnsweredTweets, DriftReference
from polarity.watch.expected_accuracy import ConfidenceCalibration, expected_accuracy

MAX_WINDOWS_PER_RUN = 20


def reference_from(
    held_out: Sequence[Predictions],
    confidence: Mapping[str, Any],
    known: KnownWords,
    *,
    options: DriftConfig,
    seed: int,
) -> DriftReference | None:
    """Make the reference of a model from its predictions for tweets that it was not fitted on.

    Parameters
    ----------
    held_out : sequence of Predictions
        With the column `text`.
    confidence : mapping
        The card's entry on the confidence.
    known : KnownWords
        The words of the training tweets.
    options : DriftConfig
    seed : int
        Of the windows that are drawn.
    """
    recent = [_recent(part) for part in held_out]
    if options.recent and sum(map(len, recent)) >= 2 * options.window:
        held_out = recent
    tweets = AnsweredTweets.of(
        [text for part in held_out for text in part.columns["text"]],
        np.concatenate([part.probabilities for part in held_out]),
        labels=np.concatenate([part.labels for part in held_out]),
        calibration=calibration_from(confidence),
        known=known,
    )
    return DriftReference.build(tweets, held_out[0].label_names, window=options.window, rate=options.rate, seed=seed)


def _recent(part: Predictions) -> Predictions:
    """Those for the tweets that came in since the file was made."""
    origins = part.columns.get(ORIGIN)
    kept = np.zeros(len(part), bool) if origins is None else np.isin(origins, RECENT)
    return Predictions(part.labels[kept], part.probabilities[kept], part.label_names, part.columns[kept])


@cache
def reference_of(version: str) -> DriftReference | None:
    """The reference of a promoted version; None if its Bento has none, or is gone."""
    file = bento_store.model_folder(f"{bento_store.CHAMPION}:{version}") / DRIFT_REFERENCE
    return DriftReference.from_bytes(file.read_bytes()) if file.is_file() else None


def held_out_of(version: str) -> AnsweredTweets | None:
    """Tweets that a promoted version was not fitted on; None if its Bento has none, or is gone."""
    return None if (reference := reference_of(version)) is None else reference.sample


def judge_windows(store: RecordStore, version: str) -> list[JudgedWindow]:
    """Judge the complete windows of a version that have not been judged, and store what was found."""
    reference, calibration = reference_of(version), calibration_of(version)
    judged: list[JudgedWindow] = []
    while reference is not None and len(judged) < MAX_WINDOWS_PER_RUN:
        answers = next_answers(store, version, reference.window, at_most=MAX_WINDOWS_PER_RUN)
        if not answers:
            break
        window = judge(answers, version, reference, calibration)
        if note_window(store, window, announced=window.effect <= 1):
            judged.append(window)
    return judged


def judge(
    answers: Sequence[WindowAnswer],
    version: str,
    reference: DriftReference,
    calibration: ConfidenceCalibration | None,
) -> JudgedWindow:
    """Judge one window, in the order of its answers."""
    scores = np.array([answer.score for answer in answers])
    of_labels = np.array([[answer.probabilities.get(label, 0.0) for label in reference.labels] for answer in answers])
    known = [np.nan if answer.label is None else float(answer.label == answer.sentiment) for answer in answers]
    expected = None if calibration is None else calibration(scores)
    window = AnsweredTweets.recorded(answers, of_labels, expected=expected, correct=np.array(known))
    result = reference.judge(window)
    summary = result.in_words()
    texts = [answer.text for answer in answers if answer.text is not None]
    if result.drifted and (words := reference.more_frequent(texts) if texts else []):
        named = (f"“{word}” in {share:.0%}, not {before:.0%}" for word, share, before in words)
        summary = f"{summary}; more frequent words: {', '.join(named)}"
    if calibration is not None:
        estimates = [expected_accuracy(calibration, scores)]
        if (reweighted := reweighted_calibration(reference.sample, window, scores)) is not None:
            estimates.append(expected_accuracy(reweighted, scores))
        said = " or ".join(estimate.in_words() for estimate in estimates)
        summary = f"{summary}; expected accuracy {said}. {estimates[-1].caveat}"
    first, last = answers[0], answers[-1]
    return JudgedWindow(
        f"{version} {first.id}", version, first.at, last.at, last.id, len(answers), result.largest, summary
    )
