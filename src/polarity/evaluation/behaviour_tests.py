"""The sentences of the behaviour tests, written by the project.

There are three kinds, after Ribeiro et al. 2020 (Beyond Accuracy: Behavioral
Testing of NLP Models with CheckList, ACL): minimum functionality (a clear-cut
sentence must get the obvious answer), invariance (an irrelevant change must not
change the answer) and direction (a relevant change must move the score in the
expected direction).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Literal

Kind = Literal["minimum functionality", "invariance", "direction"]
Expectation = Literal["positive", "negative", "not positive", "same answer", "lower", "not lower"]

THINGS = (
    "this song", "my new phone", "the concert", "the movie last night", "this game", "my coffee this morning",
    "the weather today", "this book", "the party", "dinner with my friends", "my new job", "the food here",
)  # fmt: skip
GOOD = ("great", "awesome", "amazing", "wonderful", "fantastic", "lovely", "perfect", "brilliant")
BAD = ("terrible", "awful", "horrible", "boring", "disappointing", "annoying", "useless", "sad")
LIKING = ("love", "enjoy", "really like", "adore")
DISLIKING = ("hate", "can't stand", "really dislike", "am sick of")
OPINIONS = (
    "{thing} is {good}", "what a {good} day, thanks to {thing}", "so happy about {thing}, it is {good}",
    "{thing} is {bad}", "what a {bad} day, because of {thing}", "so sad about {thing}, it is {bad}",
)  # fmt: skip
NAMES = ("Emma", "Liam", "Aisha", "Carlos", "Yuki", "Olga", "Kwame", "Priya", "Ahmed", "Mei")
WITH_NAME = (
    "{name} made my day, what a lovely surprise", "great evening with {name}, love it",
    "{name} just told me the best news ever, so happy", "thanks {name}, you are awesome",
    "{name} ruined my day, I am so angry", "awful evening with {name}, never again",
    "{name} just told me terrible news, so sad", "I hate it when {name} is late again",
)  # fmt: skip
LINKS = ("http://example.com/a1b2", "https://example.org/photo/77", "www.example.net", "http://t.example/9zq")
HANDLES = ("@jo_fields", "@the_real_kim", "@dev42", "@sunnyside")
TAGS = ("MondayMorning", "WeekendVibes", "LiveMusic", "CoffeeTime", "GoodReads", "RoadTrip")
PRAISE = ("I love it", "simply wonderful", "best thing ever", "thank you so much", "it made me so happy")


@dataclass(frozen=True)
class BehaviourTest:
    """Sentences, or pairs of a sentence and its modified form, with the expected result.

    `title` describes the test to a non-technical reader.
    """

    name: str
    kind: Kind
    title: str
    expectation: Expectation
    cases: tuple[tuple[str, ...], ...]


@cache
def behaviour_tests() -> tuple[BehaviourTest, ...]:
    """Return all tests; the list is deterministic."""
    return (
        BehaviourTest(
            "plain_positive",
            "minimum functionality",
            "Plain praise is positive",
            "positive",
            _singles(
                *(f"{thing} is {good}" for thing, good in _every(3, THINGS, GOOD)),
                *(f"I {like} {thing}" for like, thing in product(LIKING, THINGS)),
            ),
        ),
        BehaviourTest(
            "plain_negative",
            "minimum functionality",
            "A plain complaint is negative",
            "negative",
            _singles(
                *(f"{thing} is {bad}" for thing, bad in _every(3, THINGS, BAD)),
                *(f"I {dislike} {thing}" for dislike, thing in product(DISLIKING, THINGS)),
            ),
        ),
        BehaviourTest(
            "negated",
            "minimum functionality",
            "Negated praise is not positive",
            "not positive",
            _singles(
                *(f"{thing} is not {good}" for thing, good in _every(3, THINGS, GOOD)),
                *(f"I don't {like} {thing}" for like, thing in _every(2, ("love", "enjoy", "like"), THINGS)),
                *(f"{thing} is not {good} at all" for thing, good in _every(4, THINGS, GOOD)),
            ),
        ),
        BehaviourTest(
            "names",
            "invariance",
            "A different first name does not change the answer",
            "same answer",
            tuple(
                (frame.format(name=NAMES[0]), frame.format(name=name)) for frame, name in product(WITH_NAME, NAMES[1:])
            ),
        ),
        BehaviourTest(
            "links",
            "invariance",
            "A link at the end does not change the answer",
            "same answer",
            tuple((text, f"{text} {link}") for text, link in _every(5, _opinions(), LINKS)),
        ),
        BehaviourTest(
            "mentions",
            "invariance",
            "A leading mention does not change the answer",
            "same answer",
            tuple((text, f"{handle} {text}") for text, handle in _every(5, _opinions(), HANDLES)),
        ),
        BehaviourTest(
            "typos",
            "invariance",
            "A typo in a neutral word does not change the answer",
            "same answer",
            tuple((text, typo) for text in _opinions() if (typo := _swapped(text)) != text),
        ),
        BehaviourTest(
            "hashtag_case",
            "invariance",
            "Capitals in a hashtag do not change the answer",
            "same answer",
            tuple((f"{text} #{tag}", f"{text} #{tag.lower()}") for text, tag in _every(7, _opinions(), TAGS)),
        ),
        BehaviourTest(
            "added_not",
            "direction",
            "An added “not” lowers the score",
            "lower",
            (
                *((f"{thing} is {good}", f"{thing} is not {good}") for thing, good in _every(2, THINGS, GOOD)),
                *((f"I {like} {thing}", f"I do not {like} {thing}") for like, thing in product(LIKING, THINGS)),
            ),
        ),
        BehaviourTest(
            "added_praise",
            "direction",
            "Added praise does not lower the score",
            "not lower",
            tuple((text, f"{text}, {praise}") for text, praise in _every(6, _opinions(), PRAISE)),
        ),
    )


def _opinions() -> tuple[str, ...]:
    """Return clear opinions, half of them positive and half negative."""
    return tuple(
        frame.format(thing=thing, good=GOOD[i % len(GOOD)], bad=BAD[i % len(BAD)])
        for i, (frame, thing) in enumerate(product(OPINIONS, THINGS))
    )


def _every(step: int, *parts: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Return every `step`-th combination, a sample large enough to be informative and small enough to be fast."""
    return tuple(product(*parts))[::step]


def _singles(*texts: str) -> tuple[tuple[str, ...], ...]:
    return tuple((text,) for text in texts)


def _swapped(text: str) -> str:
    """Swap the second and third letters of the thing's last long word: `song` becomes `snog`."""
    thing = max((thing for thing in THINGS if thing in text), key=len)
    word = next((word for word in reversed(thing.split()) if len(word) > 3), "")
    return text.replace(word, word[0] + word[2] + word[1] + word[3:], 1) if word else text
