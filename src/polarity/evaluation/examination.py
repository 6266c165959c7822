"""The behaviour tests and the bias check of a model, run together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path

from polarity.evaluation.behaviour import BehaviourReport, run_behaviour_tests
from polarity.evaluation.behaviour_tests import BehaviourTest, Omission, sentence_tests, tweet_tests
from polarity.evaluation.bias import BiasReport, check_bias
from polarity.evaluation.sentences import Sentences, guess_language, read_sentences, sentences_of
from polarity.inference.predictor import Predict
from polarity.text.tweets import Tweets

BEHAVIOUR = "behaviour.json"
BIAS = "bias.json"


@dataclass(frozen=True)
class Examination:
    """The results of both checks of a model."""

    behaviour: BehaviourReport
    bias: BiasReport

    def write(self, folder: Path) -> None:
        """Write both reports into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, report in ((BEHAVIOUR, self.behaviour), (BIAS, self.bias)):
            (folder / name).write_text(json.dumps(report.to_dict(), indent=1, ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def read(cls, folder: Path) -> Examination:
        """Read what `write` wrote."""
        behaviour, bias = (json.loads((folder / name).read_text("utf-8")) for name in (BEHAVIOUR, BIAS))
        return cls(BehaviourReport.from_dict(behaviour), BiasReport.from_dict(bias))


def examine(
    predict: Predict,
    tweets: Tweets,
    vocabulary: Set[str],
    limits: Mapping[str, float],
    *,
    language: str = "auto",
    path: Path | None = None,
    seed: int,
) -> Examination:
    """Run the behaviour tests and the bias check on a classifier.

    Parameters
    ----------
    predict : callable
        Maps texts to probabilities of shape (n, n_labels).
    tweets : Tweets
        Labelled tweets of the user's own, which the tests change.
    vocabulary : set of str
        Words that the model could learn (`words_of`).
    limits : mapping of str to float
        Minimum pass rate by behaviour test name.
    language : str
        Code of the sentences' language, `auto` to guess it from the tweets, or `none`.
    path : Path, optional
        A file of sentences that is used instead.
    seed : int
        Seed of the choice of tweets.

    Raises
    ------
    ConfigurationError
        If `path` is not a file of sentences.
    """
    sentences, reason = _sentences(tweets, language, path)
    tests: tuple[BehaviourTest, ...] = ()
    omitted: tuple[Omission, ...] = ()
    if {"positive", "negative"} <= set(tweets.label_names):
        tests, omitted = tweet_tests(tweets, seed=seed)
        if sentences is not None:
            made, left_out = sentence_tests(sentences, vocabulary)
            tests, omitted = (*made, *tests), (*left_out, *omitted)
    behaviour = run_behaviour_tests(predict, tweets.label_names, tests, limits)
    bias = check_bias(predict, tweets.label_names, sentences.identity if sentences else None)
    return Examination(replace(behaviour, omitted=omitted, language=reason), bias)


def _sentences(tweets: Tweets, language: str, path: Path | None) -> tuple[Sentences | None, str]:
    """The sentences to use, and a sentence that says which and why."""
    if path is not None:
        found = read_sentences(path)
        return found, f"The sentences are those of {path} ({found.language})."
    if language == "none":
        return None, "No sentences, by choice (behaviour.language); only the tests made of the tweets ran."
    if language != "auto":
        return sentences_of(language), f"The sentences are {sentences_of(language).language}, by choice."
    guessed, why = guess_language(tweets.texts)
    if guessed is None:
        return None, f"No sentences: {why}; only the tests made of the tweets ran."
    return sentences_of(guessed), f"The sentences are {sentences_of(guessed).language}: {why}."
