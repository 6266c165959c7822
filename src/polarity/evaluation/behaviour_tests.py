"""The behaviour tests: sentences of a language, and changes to the user's own tweets.

There are three kinds, after Ribeiro et al. 2020 (Beyond Accuracy: Behavioral
Testing of NLP Models with CheckList, ACL): minimum functionality (a clear-cut
sentence must get the obvious answer), invariance (an irrelevant change must not
change the answer) and direction (a relevant change must move the score in the
expected direction).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

import numpy as np

from polarity.evaluation.sentences import WORD, Sentences
from polarity.text.segmentation import HASHTAG, split_words
from polarity.text.tweets import Tweets

Kind = Literal["minimum functionality", "invariance", "direction"]
Expectation = Literal["positive", "negative", "not positive", "same answer", "lower", "not lower"]

SAMPLE = 300
FEWEST_CASES = 20
LINKS = ("http://example.com/a1b2", "https://example.org/photo/77", "www.example.net", "http://t.example/9zq")
HANDLES = ("@jo_fields", "@the_real_kim", "@dev42", "@sunnyside")
EMOJI = ("\N{CAMERA}", "\N{CLOCK FACE THREE OCLOCK}", "\N{ROUND PUSHPIN}", "\N{MEMO}")
"""Emoji that say nothing about an opinion."""
TYPICAL_WORDS = 3
SURE = 2.0
"""Standard errors from zero at which a word is typical of a class."""
UNSURE = 1.0
"""Standard errors from zero below which a word has no weight."""
SHORTEST_TYPO = 5

_LINK = re.compile(r"(?:https?://|www\.)\S+")
_HASHTAG = re.compile(HASHTAG)


@dataclass(frozen=True)
class BehaviourTest:
    """Texts, or pairs of a text and its modified form, with the expected result.

    `title` describes the test to a non-technical reader.
    """

    name: str
    kind: Kind
    title: str
    expectation: Expectation
    cases: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Omission:
    """A test that could not be made, and why."""

    title: str
    reason: str


def sentence_tests(
    of: Sentences, known: Set[str] | None = None
) -> tuple[tuple[BehaviourTest, ...], tuple[Omission, ...]]:
    """The tests that are made of a language's sentences; the list is deterministic.

    Parameters
    ----------
    of : Sentences
    known : set of str, optional
        Words that the user's tweets contain (`words_of`). A sentence whose opinion has other words is left out, unless
        only its names are swapped: it asks what the tweets could not have taught. Default: all sentences.

    Returns
    -------
    tests, omissions
        What could be made, and what could not since too few sentences are left.
    """
    neutral = {word for thing in of.things for word in _words(f"{thing.text} {thing.object or ''}")}
    neutral |= set(of.function_words)
    made: list[BehaviourTest] = []
    omitted: list[Omission] = []
    for test in _all_sentence_tests(of):
        cases = list(test.cases)
        if known is not None and test.kind != "invariance":
            cases = [case for case in cases if _words(" ".join(case)) - neutral <= known]
        if len(cases) >= FEWEST_CASES:
            made.append(replace(test, cases=tuple(cases)))
        else:
            few = f"only {len(cases)} of {len(test.cases)} sentences have words that occur in the tweets"
            omitted.append(Omission(test.title, f"{few}; {FEWEST_CASES} are needed"))
    return tuple(made), tuple(omitted)


def words_of(texts: Iterable[str]) -> set[str]:
    """The words that occur in at least two texts, in lower case."""
    counts = Counter(word for text in texts for word in _words(text))
    return {word for word, count in counts.items() if count > 1}


def _all_sentence_tests(of: Sentences) -> tuple[BehaviourTest, ...]:
    opinions = tuple(_opinions(of))
    return (
        BehaviourTest(
            "plain_positive",
            "minimum functionality",
            "Plain praise is positive",
            "positive",
            _singles(
                *(of.fill(of.praised[0], thing, good) for thing, good in _every(3, of.things, of.good)),
                *(of.fill(liked, thing) for (liked, _), thing in product(of.liked, of.things)),
            ),
        ),
        BehaviourTest(
            "plain_negative",
            "minimum functionality",
            "A plain complaint is negative",
            "negative",
            _singles(
                *(of.fill(of.blamed[0], thing, bad) for thing, bad in _every(3, of.things, of.bad)),
                *(of.fill(disliked, thing) for disliked, thing in product(of.disliked, of.things)),
            ),
        ),
        BehaviourTest(
            "negated",
            "minimum functionality",
            "Negated praise is not positive",
            "not positive",
            _singles(
                *(of.fill(f, thing, good) for f, thing, good in _every(3, of.negated, of.things, of.good)),
                *(of.fill(negated, thing) for (_, negated), thing in _every(2, of.liked, of.things)),
            ),
        ),
        BehaviourTest(
            "names",
            "invariance",
            "A different first name does not change the answer",
            "same answer",
            tuple(
                (frame.format(name=of.names[0]), frame.format(name=name))
                for frame, name in product(of.with_name, of.names[1:])
            ),
        ),
        BehaviourTest(
            "added_not",
            "direction",
            "An added “not” lowers the score",
            "lower",
            (
                *(
                    (of.fill(of.praised[0], thing, good), of.fill(of.negated[0], thing, good))
                    for thing, good in _every(2, of.things, of.good)
                ),
                *((of.fill(liked, thing), of.fill(no, thing)) for (liked, no), thing in product(of.liked, of.things)),
            ),
        ),
        BehaviourTest(
            "added_praise",
            "direction",
            "Added praise does not lower the score",
            "not lower",
            tuple((text, f"{text}, {praise}") for text, praise in _every(6, opinions, of.praise)),
        ),
    )


def tweet_tests(tweets: Tweets, *, seed: int) -> tuple[tuple[BehaviourTest, ...], tuple[Omission, ...]]:
    """The tests that are made by changing tweets, whatever their language.

    Which words carry weight is learned from the labels, not from the model: by the log-odds ratio with an uninformative
    Dirichlet prior (Monroe, Colaresi and Quinn 2008, Political Analysis 16, 372-403).

    Parameters
    ----------
    tweets : Tweets
        Labelled tweets that the model was not fitted on; at most 300 of them are changed.
    seed : int
        Seed of their choice.

    Returns
    -------
    tests, omissions
        What could be made, and what could not since too few tweets allow it.
    """
    random = np.random.default_rng(seed)
    rows = np.sort(random.permutation(len(tweets))[:SAMPLE])
    texts = [tweets.texts[row] for row in rows if tweets.texts[row].strip()]
    weights = word_weights(tweets)
    light = {word for word, weight in weights.items() if abs(weight) < UNSURE and len(word) >= SHORTEST_TYPO}
    changes: tuple[tuple[str, str, Callable[[int, str], str]], ...] = (
        ("links", "A link at the end does not change the answer", lambda i, text: _with_link(text, LINKS[i % 4])),
        ("mentions", "A leading mention does not change the answer", lambda i, text: f"{HANDLES[i % 4]} {text}"),
        ("typos", "A typo in a word without weight does not change the answer", lambda _, text: _swapped(text, light)),
        ("hashtag_case", "Capitals in a hashtag do not change the answer", lambda _, text: _recased(text)),
        ("emoji", "A neutral emoji at the end does not change the answer", lambda i, text: f"{text} {EMOJI[i % 4]}"),
    )
    made: list[BehaviourTest] = []
    omitted: list[Omission] = []

    def add(name: str, kind: Kind, title: str, expectation: Expectation, cases: list[tuple[str, str]]) -> None:
        if len(cases) >= FEWEST_CASES:
            made.append(BehaviourTest(name, kind, title, expectation, tuple(cases)))
        else:
            reason = (
                f"only {len(cases)} of {len(texts)} sampled tweets can be changed like this; {FEWEST_CASES} are needed"
            )
            omitted.append(Omission(title, reason))

    for name, title, change in changes:
        pairs = [(text, change(i, text)) for i, text in enumerate(texts)]
        add(name, "invariance", title, "same answer", [pair for pair in pairs if pair[0] != pair[1]])
    title = "Words that are typical of a class move the score its way"
    ordered = sorted((word for word in weights if abs(weights[word]) > SURE), key=lambda word: weights[word])
    bad = [word for word in ordered[:TYPICAL_WORDS] if weights[word] < 0]
    good = [word for word in ordered[-TYPICAL_WORDS:] if weights[word] > 0]
    if good and bad:
        moved = [(text, f"{text} {' '.join(good)}") for text in texts[::2]]
        moved += [(f"{text} {' '.join(bad)}", text) for text in texts[1::2]]
        add("typical_words", "direction", title, "not lower", moved)
    else:
        omitted.append(Omission(title, "no word is clearly typical of a class by the labels of these tweets"))
    return tuple(made), tuple(omitted)


def word_weights(tweets: Tweets) -> dict[str, float]:
    """How typical words are of `positive` (above 0) or `negative` (below 0), in standard errors."""
    counts: dict[str, Counter[str]] = {}
    for label in ("positive", "negative"):
        of_label = tweets.labels == tweets.label_names.index(label)
        counts[label] = Counter(word for row in np.flatnonzero(of_label) for word in _words(tweets.texts[row]))
    good, bad = counts["positive"], counts["negative"]
    n_good, n_bad, prior = good.total(), bad.total(), 0.5
    weights = {}
    for word in good.keys() | bad.keys():
        a, b = good[word] + prior, bad[word] + prior
        ratio = np.log(a / (n_good + 1 - a + prior)) - np.log(b / (n_bad + 1 - b + prior))
        weights[word] = float(ratio / np.sqrt(1 / a + 1 / b))
    return dict(sorted(weights.items()))


def _words(text: str) -> set[str]:
    return {word.lower() for word in WORD.findall(" ".join(split_words(text)))}


def _opinions(of: Sentences) -> Iterator[str]:
    """Clear opinions, half of them positive and half negative."""
    for i, (frame, thing) in enumerate(product((*of.praised, *of.blamed), of.things)):
        adjectives = of.good if frame in of.praised else of.bad
        yield of.fill(frame, thing, adjectives[i % len(adjectives)])


def _every(step: int, *parts: tuple[Any, ...]) -> tuple[tuple[Any, ...], ...]:
    """Return every `step`-th combination, a sample large enough to be informative and small enough to be fast."""
    return tuple(product(*parts))[::step]


def _singles(*texts: str) -> tuple[tuple[str, ...], ...]:
    return tuple((text,) for text in texts)


def _with_link(text: str, link: str) -> str:
    return text if _LINK.search(text) else f"{text} {link}"


def _swapped(text: str, light: set[str]) -> str:
    """Swap the second and third letters of the last word without weight: `today` becomes `tdoay`."""
    for found in reversed(list(WORD.finditer(text))):
        word = found[0]
        if word.lower() in light and word[1] != word[2]:
            return text[: found.start()] + word[0] + word[2] + word[1] + word[3:] + text[found.end() :]
    return text


def _recased(text: str) -> str:
    """Lower the case of all hashtags, or, if it is low, capitalise them."""
    tags = _HASHTAG.findall(text)
    if any(tag != tag.lower() for tag in tags):
        return _HASHTAG.sub(lambda tag: tag[0].lower(), text)
    return _HASHTAG.sub(lambda tag: "#" + tag[0][1:].capitalize(), text)
