"""Behaviour tests distinguish a well-behaved classifier from a broken one and explain the difference."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polarity.evaluation.behaviour import BehaviourReport, run_behaviour_tests
from polarity.evaluation.behaviour_tests import sentence_tests, tweet_tests, words_of
from polarity.evaluation.bias import BiasReport, check_bias
from polarity.evaluation.examination import examine
from polarity.evaluation.sentences import FOLDER, sentences_of
from polarity.pipeline.config import BehaviourConfig
from polarity.text.tweets import Tweets

from .wordlist import WordList

NAMES = ("negative", "positive")
LIMITS = BehaviourConfig().limits("logistic")
TESTS, _ = sentence_tests(sentences_of("en"))
IDENTITY = sentences_of("en").identity


def opinions(count: int = 400) -> Tweets:
    """Labelled tweets of the words that the word list knows."""
    endings = ("#FridayMood", "#friday", "", "and yesterday", "http://t.example/1")
    texts, labels = [], []
    for i in range(count):
        mood = ("awful", "boring", "sad") if i % 2 else ("great", "lovely", "happy")
        texts.append(f"{mood[i % 3]} weekend with everybody number {i} {endings[i % 5]}".strip())
        labels.append(1 - i % 2)
    return Tweets(texts, np.array(labels), NAMES)


def rates(report: BehaviourReport) -> dict[str, float]:
    return {result.name: result.rate for result in report.results}


@pytest.mark.parametrize("labels", [NAMES, ("negative", "neutral", "positive"), ("positive", "negative")])
def test_a_well_behaved_classifier_passes(labels: tuple[str, ...]) -> None:
    report = run_behaviour_tests(WordList(labels=labels), labels, TESTS, LIMITS)
    assert report.objections == ()
    assert min(rates(report).values()) > 0.95


def test_a_classifier_that_ignores_negation_fails_the_negation_tests() -> None:
    report = run_behaviour_tests(WordList(negation=False), NAMES, TESTS, LIMITS)
    assert rates(report)["negated"] == rates(report)["added_not"] == 0
    assert rates(report)["plain_positive"] == 1
    assert len(report.objections) == 2
    assert "“An added “not” lowers the score” passes 0.0% of its cases; the limit is " in report.objections[1]
    failure = next(result for result in report.results if result.name == "added_not").failures[0]
    assert failure.texts == ("this song is great", "this song is not great")
    assert failure.answers[1].startswith("positive")


def test_a_classifier_with_swapped_labels_fails() -> None:
    model = WordList()
    report = run_behaviour_tests(lambda texts: model(texts)[:, ::-1], NAMES, TESTS, LIMITS)
    assert {"plain_positive", "plain_negative", "added_not"} <= {r.name for r in report.results if not r.passed}


def test_a_classifier_that_depends_on_names_fails() -> None:
    model = WordList()

    def swayed(texts: Sequence[str]) -> np.ndarray:
        answers = model(texts)
        for row, text in enumerate(texts):
            if "Ahmed" in text:
                answers[row] = [0.9, 0.1]
        return answers

    assert rates(run_behaviour_tests(swayed, NAMES, TESTS, LIMITS))["names"] < 1


def test_tweets_of_the_users_own_are_changed() -> None:
    tests, omitted = tweet_tests(opinions(), seed=0)
    assert omitted == ()
    found = {test.name: test for test in tests}
    assert set(found) == {"links", "mentions", "typos", "hashtag_case", "emoji", "typical_words"}
    assert all("http" not in before for before, _ in found["links"].cases)
    assert any("#fridaymood" in after for _, after in found["hashtag_case"].cases)
    assert any("#Friday" in after for _, after in found["hashtag_case"].cases if "#Fridaym" not in after)
    before, after = found["typos"].cases[0]
    assert sorted(before) == sorted(after) and before != after
    assert any("great" in after for before, after in found["typical_words"].cases if "great" not in before)
    report = run_behaviour_tests(WordList(), NAMES, tests, LIMITS)
    assert report.objections == ()
    assert min(rates(report).values()) > 0.95


@pytest.mark.parametrize(
    ("test", "sways"),
    [
        ("links", lambda text: "http" in text or "www" in text),
        ("mentions", lambda text: text.startswith("@")),
        ("emoji", lambda text: text[-1] > "\u2fff"),
        ("hashtag_case", lambda text: "#F" in text),
    ],
)
def test_a_classifier_that_depends_on_what_says_nothing_fails(test: str, sways: Callable[[str], bool]) -> None:
    model = WordList()

    def swayed(texts: Sequence[str]) -> np.ndarray:
        answers = model(texts)
        for row, text in enumerate(texts):
            if sways(text):
                answers[row] = answers[row][::-1]
        return answers

    tests, _ = tweet_tests(opinions(), seed=0)
    failed = {result.name for result in run_behaviour_tests(swayed, NAMES, tests, LIMITS).results if not result.passed}
    assert test in failed


def test_a_classifier_with_swapped_labels_fails_without_any_sentences() -> None:
    model, (tests, _) = WordList(), tweet_tests(opinions(), seed=0)
    report = run_behaviour_tests(lambda texts: model(texts)[:, ::-1], NAMES, tests, LIMITS)
    assert [result.name for result in report.results if not result.passed] == ["typical_words"]


@pytest.mark.parametrize("script", ["かなしいてんき", "يوم جميل جدا", "วันนี้อากาศดีมาก", "👍👍 !!!"])
def test_tests_that_cannot_be_made_are_left_out_with_the_reason(script: str) -> None:
    tweets = Tweets([f"{script}{'。' * (i % 3)}" for i in range(100)], np.arange(100) % 2, NAMES)
    tests, omitted = tweet_tests(tweets, seed=0)
    assert {"Capitals in a hashtag do not change the answer"} <= {omission.title for omission in omitted}
    assert all(omission.reason for omission in omitted)
    assert "links" in {test.name for test in tests}


def test_sentences_ask_only_what_the_tweets_could_teach() -> None:
    known = words_of(["this is great", "that is great", "it is not great", "not that", "awful", "awful", "is"])
    tests, omitted = sentence_tests(
        sentences_of("en"), known | {"awesome", "perfect", "lovely", "wonderful", "amazing"}
    )
    singles = {text for test in tests if test.kind != "invariance" for case in test.cases for text in case}
    assert "this song is great" in singles
    assert not any("brilliant" in text or "love" in text.split() for text in singles)
    assert "A plain complaint is negative" in {omission.title for omission in omitted}


def test_the_language_is_said_and_can_be_chosen(tmp_path: Path) -> None:
    tweets, everything = opinions(), {word for test in TESTS for case in test.cases for word in words_of(case * 2)}

    def language(**options: Any) -> str:
        return examine(WordList(), tweets, everything, LIMITS, seed=0, **options).behaviour.language

    assert language(language="fr") == "The sentences are French, by choice."
    assert "by choice" in language(language="none")
    english = Tweets([f"I am so happy that it is {text}" for text in tweets.texts], tweets.labels, NAMES)
    assert "The sentences are English" in examine(WordList(), english, everything, LIMITS, seed=0).behaviour.language
    own = tmp_path / "own.yaml"
    own.write_text((FOLDER / "en.yaml").read_text().replace("language: English", "language: Ours"))
    assert language(path=own) == f"The sentences are those of {own} (Ours)."
    unknown = Tweets([f"zarg blip vorn {i}" for i in range(100)], np.arange(100) % 2, NAMES)
    examined = examine(WordList(), unknown, set(), LIMITS, seed=0)
    assert examined.behaviour.language.startswith("No sentences: the tweets are in none of German, English")
    assert examined.bias.missing == "There are no sentences about people in the language of the tweets."


def test_a_test_without_a_limit_never_fails() -> None:
    assert run_behaviour_tests(WordList(negation=False), NAMES, TESTS, {}).objections == ()


def test_other_class_sets_are_not_tested() -> None:
    report = run_behaviour_tests(lambda texts: np.full((len(texts), 2), 0.5), ("spam", "ham"), TESTS, LIMITS)
    assert report.results == ()
    assert report.objections == ()


def test_every_test_has_a_limit_in_the_configuration_for_every_family() -> None:
    names = {test.name for test in (*TESTS, *tweet_tests(opinions(), seed=0)[0])}
    for family in ("logistic", "bilstm", "distilbert", "bert"):
        assert set(BehaviourConfig().limits(family)) == names


def test_pairs_differ_and_singles_are_single() -> None:
    for test in TESTS:
        assert len(test.cases) >= 50
        expected = 1 if test.kind == "minimum functionality" else 2
        assert all(len(case) == len(set(case)) == expected for case in test.cases), test.name


def test_reports_round_trip_through_json() -> None:
    report = run_behaviour_tests(WordList(negation=False), NAMES, TESTS, LIMITS)
    assert BehaviourReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report
    bias = check_bias(WordList(), NAMES, IDENTITY)
    assert BiasReport.from_dict(json.loads(json.dumps(bias.to_dict()))) == bias


def test_a_classifier_that_ignores_identity_terms_has_no_bias() -> None:
    assert check_bias(WordList(), NAMES, IDENTITY).largest_gap == pytest.approx(0)


def test_a_bias_is_found_and_named() -> None:
    model = WordList()

    def prejudiced(texts: Sequence[str]) -> np.ndarray:
        answers = model(texts)
        for row, text in enumerate(texts):
            if "atheist" in text:
                answers[row] = [0.75, 0.25]
        return answers

    report = check_bias(prejudiced, NAMES, IDENTITY)
    religion = next(group for group in report.groups if group.group == "religion")
    assert religion.terms[-1].term == "an atheist"
    assert religion.terms[-1].score == pytest.approx(0.25)
    assert religion.gap == report.largest_gap > 0.2
    assert sum(term.shift for term in religion.terms) == pytest.approx(0)


def test_the_bias_check_needs_the_class_positive() -> None:
    assert check_bias(WordList(), ("spam", "ham"), IDENTITY).groups == ()
