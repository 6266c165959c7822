"""Drift: few false alarms, shifts of each kind are found, and a window is judged once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from polarity.config.sections import DriftConfig
from polarity.evaluation.predictions import Predictions
from polarity.inference.package import DRIFT_REFERENCE, ModelManifest
from polarity.record.answer import Answer, Served
from polarity.record.options import RecordOptions
from polarity.record.spool import Spool
from polarity.record.store import RecordStore
from polarity.record.windows import JudgedWindow, note_announced, unannounced
from polarity.text.origins import ORIGIN
from polarity.text.words import KnownWords
from polarity.watch.confidence import CARD_ENTRY, calibration_of, card_entry
from polarity.watch.drift import AnsweredTweets, DriftReference
from polarity.watch.drift_windows import judge_windows, reference_from, reference_of

WINDOW = 200
WORDS = [f"word{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(300)]


def tweets(seed: int, rows: int, *, ordinary: float = 1.0, positive: float = 0.5) -> AnsweredTweets:
    """Tweets of random words; `ordinary` is the share of those without a link."""
    random = np.random.default_rng(seed)
    texts = texts_of(random, rows, ordinary)
    probabilities = scores_of(random, rows, positive)
    confidence = probabilities.max(axis=1)
    correct = (random.random(rows) < confidence).astype(float)
    found = AnsweredTweets.of(texts, probabilities)
    return replace(found, expected=confidence, correct=correct)


def texts_of(random: np.random.Generator, rows: int, ordinary: float = 1.0) -> list[str]:
    links = ["" if random.random() < ordinary else " http://example.org" for _ in range(rows)]
    return [" ".join(random.choice(WORDS, random.integers(3, 15))) + link for link in links]


def scores_of(random: np.random.Generator, rows: int, positive: float = 0.5) -> np.ndarray:
    sure = 0.5 + 0.5 * random.beta(1.5, 1.0, rows)
    first = np.where(random.random(rows) < positive, 1 - sure, sure)
    return np.column_stack([first, 1 - first])


@pytest.fixture(scope="module")
def reference() -> DriftReference:
    found = DriftReference.build(tweets(1, 4_000), ("negative", "positive"), window=WINDOW, rate=0.02)
    assert found is not None
    return found


def test_all_tests_together_alarm_falsely_at_the_configured_rate(reference: DriftReference) -> None:
    alarms = sum(reference.judge(tweets(100 + n, WINDOW)).drifted for n in range(500))
    assert alarms <= 20, "10 are expected; 20 or more have a probability of a third of a per cent"


def test_shifts_are_found_by_the_test_of_their_kind(reference: DriftReference) -> None:
    assert reference.judge(tweets(7, WINDOW, positive=0.8)).effects["scores"] > 1
    links = reference.judge(tweets(8, WINDOW, ordinary=0.7))
    assert links.effects["descriptors"] > 1
    assert "descriptors: links" in links.in_words()
    ordinary = tweets(9, WINDOW)
    assert ordinary.correct is not None
    assert ordinary.words is not None
    wrong = reference.judge(replace(ordinary, correct=np.where(np.arange(WINDOW) % 3, ordinary.correct, 0.0)))
    assert wrong.effects["labels"] > 1
    topic = replace(ordinary, words=AnsweredTweets.of(["storm"] * WINDOW, ordinary.scores).words)
    assert reference.judge(topic).effects["words"] > 1


def test_confidence_that_always_promised_too_much_is_no_drift(reference: DriftReference) -> None:
    """The labels of a window are held against those of the held-out tweets, not against the confidence alone."""

    def promising(found: AnsweredTweets) -> AnsweredTweets:
        assert found.expected is not None
        return replace(found, expected=found.expected * 0.5 + 0.45)

    held_out, window = tweets(1, 4_000), tweets(13, WINDOW)
    window = replace(window, correct=np.where(np.arange(WINDOW) % 12, window.correct, 0.0))
    bold = DriftReference.build(promising(held_out), ("negative", "positive"), window=WINDOW, rate=0.02)
    assert bold is not None
    assert bold.surprise > 0.04 > abs(reference.surprise)
    kept = DriftReference.from_bytes(bold.to_bytes())
    effects = [of.judge(found).effects["labels"] for of, found in ((reference, window), (kept, promising(window)))]
    assert effects[0] > 0.3
    assert effects[1] == pytest.approx(effects[0], rel=0.25)


def test_words_that_became_more_frequent_are_named(reference: DriftReference) -> None:
    texts = texts_of(np.random.default_rng(12), WINDOW)
    assert reference.more_frequent(texts) == []
    stormy = [f"{text} storm" if n % 5 == 0 else text for n, text in enumerate(texts)]
    assert [word for word, *_ in reference.more_frequent(stormy)] == ["storm"]


def test_tests_that_are_not_possible_are_left_out(reference: DriftReference) -> None:
    window = replace(tweets(10, WINDOW), words=None, correct=None)
    assert set(reference.judge(window).effects) == {"scores", "descriptors"}


def test_an_unknown_share_that_is_not_known_is_no_drift() -> None:
    """The first answers of a new champion are those that it gave as a challenger, without the list of its words."""
    random, known = np.random.default_rng(22), KnownWords.of([" ".join(WORDS[:270])] * 2)
    held_out = AnsweredTweets.of(texts_of(random, 2_000), scores_of(random, 2_000), known=known)
    reference = DriftReference.build(held_out, ("negative", "positive"), window=WINDOW, rate=0.02)
    assert reference is not None
    texts, scores = texts_of(random, WINDOW), scores_of(random, WINDOW)
    assert reference.judge(AnsweredTweets.of(texts, scores, known=known)).effects["descriptors"] < 1
    assert reference.judge(AnsweredTweets.of(texts, scores)).effects["descriptors"] < 1
    strange = AnsweredTweets.of([f"zzz {text}" for text in texts], scores, known=known)
    assert reference.judge(strange).effects["descriptors"] > 1


def test_a_packed_reference_is_the_same(reference: DriftReference) -> None:
    window = tweets(11, WINDOW, ordinary=0.9)
    kept = DriftReference.from_bytes(packed := reference.to_bytes())
    assert kept.judge(window).effects == pytest.approx(reference.judge(window).effects, rel=1e-4)
    assert kept.sample.words is not None and reference.sample.words is not None
    assert (kept.sample.words != reference.sample.words).nnz == 0
    assert list(kept.sample.scripts) == list(reference.sample.scripts)
    np.testing.assert_array_equal(kept.sample.correct, reference.sample.correct)
    np.testing.assert_allclose(kept.sample.scores, reference.sample.scores, rtol=1e-6)
    for damaged in (packed[:-100], b"", b"{}"):
        with pytest.raises(ValueError, match="no reference that drift can be judged by"):
            DriftReference.from_bytes(damaged)


def test_too_few_held_out_tweets_make_no_reference() -> None:
    assert DriftReference.build(tweets(1, 399), ("negative", "positive"), window=WINDOW, rate=0.02) is None


def test_the_reference_may_be_of_the_tweets_that_came_in_alone() -> None:
    """Those of the file have no links here, and traffic has moved to texts with links for good."""
    random, known = np.random.default_rng(21), KnownWords.of([" ".join(WORDS)] * 2)
    sample = scores_of(random, 4_000)
    confidence = card_entry(sample, (random.random(4_000) < sample[:, 1]).astype(int))

    def held_out(collected: int) -> Predictions:
        texts = [*texts_of(random, 4_000), *texts_of(random, collected, ordinary=0.0)]
        columns = pd.DataFrame({"text": texts, ORIGIN: ["old"] * 4_000 + ["collected"] * collected})
        probabilities = scores_of(random, len(texts)).astype(np.float32)
        return Predictions(probabilities.argmax(axis=1), probabilities, ("negative", "positive"), columns)

    def judged(part: Predictions) -> float:
        options = DriftConfig(window=WINDOW, rate=0.02, recent=True)
        found = reference_from([part], confidence, known, options=options, seed=1)
        assert found is not None
        window = AnsweredTweets.of(texts_of(random, WINDOW, ordinary=0.0), scores_of(random, WINDOW), known=known)
        return found.judge(window).effects["descriptors"]

    assert judged(held_out(2 * WINDOW)) < 1
    assert judged(held_out(2 * WINDOW - 1)) > 1, "too few of them for thresholds, so all are taken"


def test_each_complete_window_of_a_version_is_judged_once(
    reference: DriftReference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    folder = tmp_path / "bentos" / "sentiment" / "1" / "src" / "model"
    folder.mkdir(parents=True)
    (folder / DRIFT_REFERENCE).write_bytes(reference.to_bytes())
    answered = reference.sample.scores.argmax(axis=1)
    labels = np.where(reference.sample.correct, answered, 1 - answered)
    ModelManifest.describe(
        folder,
        [],
        family="logistic",
        name="logistic",
        labels=("negative", "positive"),
        precision="float64",
        temperature=1.0,
        max_tokens=None,
        card={CARD_ENTRY: card_entry(reference.sample.scores, labels)},
    ).write(folder)
    reference_of.cache_clear()
    calibration_of.cache_clear()
    path = tmp_path / "log.db"
    random = np.random.default_rng(3)
    store = RecordStore(RecordOptions.read({"POLARITY_PREDICTION_LOG": str(path)}))

    def record(first: int, rows: int, version: str = "1", positive: float = 0.5) -> None:
        answers = []
        for at, (text, scores) in enumerate(
            zip(texts_of(random, rows), scores_of(random, rows, positive), strict=True), first
        ):
            given = dict(zip(("negative", "positive"), scores.tolist(), strict=True))
            sentiment = max(given, key=given.__getitem__)
            name = f"{version}-{at:06}"
            answers.append(Answer(name, at, text, sentiment, given[sentiment], given, None, 0, 0, 0.0, False))
        served = Served("logistic", version, f"sentiment:{version}")
        spool = Spool(path, served=served, texts="full", limit_bytes=2**26, evict=True)
        spool.write(answers)
        spool.close()

    def judged() -> list[JudgedWindow]:
        return judge_windows(store, "1")

    record(0, WINDOW - 1)
    record(0, WINDOW, version="2")
    assert judged() == [], "answers of another version do not complete a window"
    record(WINDOW - 1, WINDOW)
    (first,) = judged()
    assert (first.since, first.until, first.answers) == (0, WINDOW - 1, WINDOW)
    assert judged() == []
    record(2 * WINDOW - 1, WINDOW, positive=1.0)
    record(3 * WINDOW - 1, WINDOW, positive=1.0)
    second, third = judged()
    assert (second.since, third.since) == (WINDOW, 2 * WINDOW)
    assert third.effect > 1
    assert "scores" in third.summary
    assert "(CBPE)" in third.summary and "(PAPE)" in third.summary, "what the confidence lets expect, by both methods"
    assert "concept drift" in third.summary, "and when they fail"
    due = unannounced(store)
    assert due[-1] == third
    for window in due:
        note_announced(store, window)
    assert unannounced(store) == []
    store.close()
    reference_of.cache_clear()
    calibration_of.cache_clear()
