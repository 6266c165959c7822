"""The words that drive an answer, and deliberately wrong labels."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from polarity.evaluation.mistakes import MistakeReport, driving_words, find_mistakes, suspected_labels
from polarity.evaluation.predictions import predict_rows

from .wordlist import WordList

NAMES = ("negative", "positive")


def test_the_words_that_drove_an_answer_are_found_in_order() -> None:
    texts = ["the movie was great", "the train was awful, simply awful", "nothing to see"]
    found = driving_words(WordList(), texts, [1, 0, 1])
    assert [word.word for word in found[0]] == ["great"]
    assert {word.word for word in found[1]} == {"awful,", "awful"}
    assert found[2] == ()


def test_a_word_against_the_answer_does_not_drive_it() -> None:
    ((only, *more),) = driving_words(WordList(), ["great great but boring"], [1])
    assert only.word == "great"
    assert "boring" not in [word.word for word in more]


def test_no_texts_need_no_predictions() -> None:
    assert driving_words(WordList(), [], []) == []


def test_the_most_confident_errors_come_first() -> None:
    rows = pd.DataFrame(
        {
            "text": ["great", "great great great", "awful", "lovely day", "horrible"],
            "label": ["negative", "negative", "negative", "positive", "positive"],
        }
    )
    predictions = predict_rows(WordList(), rows, NAMES)
    report = find_mistakes(WordList(), predictions, shown=2)
    assert report.rows == 5
    assert report.errors == 3
    assert [mistake.text for mistake in report.mistakes] == ["great great great", "great"]
    assert report.mistakes[0].label == "negative"
    assert report.mistakes[0].answered == "positive"
    assert report.mistakes[0].probability > 0.99
    assert MistakeReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report


@pytest.mark.parametrize("n_labels", [2, 3])
def test_flipped_labels_are_suspected(n_labels: int) -> None:
    rng = np.random.default_rng(n_labels)
    truth = rng.integers(n_labels, size=2000)
    sure = rng.beta(8, 2, size=2000)
    probabilities = np.full((2000, n_labels), 1.0) * ((1 - sure) / (n_labels - 1))[:, None]
    probabilities[np.arange(2000), truth] = sure
    flipped = rng.choice(2000, size=100, replace=False)
    given = truth.copy()
    given[flipped] = (truth[flipped] + 1) % n_labels
    suspects = suspected_labels(given, probabilities)
    rows = {row for row, _ in suspects}
    hits = rows & set(flipped.tolist())
    assert len(hits) / len(rows) > 0.9, "nearly all suspects are flipped"
    assert len(hits) > 40, "and a good part of the flipped is suspected"
    assert all(truth[row] == seems for row, seems in suspects[:40])


def test_correct_labels_are_not_suspected() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.1, 0.9]])
    assert suspected_labels(np.array([0, 0, 1, 1]), probabilities) == []


def test_a_class_that_does_not_occur_is_never_suggested() -> None:
    probabilities = np.array([[0.2, 0.7, 0.1], [0.6, 0.4, 0.0]])
    assert suspected_labels(np.array([0, 0]), probabilities) == []
