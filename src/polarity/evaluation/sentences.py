"""Sentences of the behaviour tests and the bias check, as reviewed data: a file for each language.

The files are in `expectations/behaviour/`; a user may bring one of the same form. Agreement of gender and case is in
the data, so that a difference which is only grammar is not measured as behaviour.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Self

import yaml
from pydantic import ValidationError, model_validator

from polarity.config.sections import Section
from polarity.config.settings import PROJECT
from polarity.errors import ConfigurationError
from polarity.text.segmentation import LETTER

FOLDER = PROJECT / "expectations" / "behaviour"
FEW_TWEETS = 20
RECOGNISED_SHARE = 0.12
"""Share of function words among all words at which a language is recognised; running text has 0.3 to 0.5."""
RECOGNISED_LEAD = 1.15
"""By how much this share must exceed that of the next language."""

Adjective = str | dict[str, str]

WORD = re.compile(rf"(?<![@#\w]){LETTER}(?:'?{LETTER})*")


class Thing(Section):
    """What an opinion is about, its form for agreement, and its accusative if that differs."""

    text: str
    form: str = ""
    object: str | None = None


class Identity(Section):
    """Sentences about people, and by group the terms to put into them, each in all the forms that they use."""

    sentences: tuple[str, ...]
    groups: dict[str, tuple[dict[str, str], ...]]

    @model_validator(mode="after")
    def _every_term_has_every_form(self) -> Self:
        used = {slot for sentence in self.sentences for slot in _slots(sentence)}
        for group, terms in self.groups.items():
            for term in terms:
                if missing := used - term.keys():
                    raise ValueError(f"identity.groups.{group}: {term} lacks {', '.join(sorted(missing))}")
        return self


class Sentences(Section):
    """The sentences of one language; see docs/extend.md for the fields."""

    language: str
    function_words: tuple[str, ...] = ()
    things: tuple[Thing, ...]
    good: tuple[Adjective, ...]
    bad: tuple[Adjective, ...]
    praised: tuple[str, ...]
    blamed: tuple[str, ...]
    negated: tuple[str, ...]
    liked: tuple[tuple[str, str], ...]
    disliked: tuple[str, ...]
    praise: tuple[str, ...]
    names: tuple[str, ...]
    with_name: tuple[str, ...]
    identity: Identity | None = None

    @model_validator(mode="after")
    def _slots_are_known(self) -> Self:
        known = {"thing", "object", "good", "bad"}
        for name, allowed in (
            ("praised", known - {"bad"}),
            ("blamed", known - {"good"}),
            ("negated", known - {"bad"}),
            ("disliked", {"thing", "object"}),
            ("with_name", {"name"}),
        ):
            for frame in getattr(self, name):
                if unknown := _slots(frame) - allowed:
                    raise ValueError(f"{name}: {frame!r} has the unknown slot {', '.join(sorted(unknown))}")
        forms = {thing.form for thing in self.things}
        for adjective in (*self.good, *self.bad):
            if isinstance(adjective, dict) and (missing := forms - adjective.keys()):
                raise ValueError(f"the adjective {adjective} lacks the form {', '.join(sorted(missing))}")
        return self

    def fill(self, frame: str, thing: Thing, adjective: Adjective = "") -> str:
        """A frame about a thing, with an adjective in the form that agrees with it."""
        inflected = adjective[thing.form] if isinstance(adjective, dict) else adjective
        return frame.format(thing=thing.text, object=thing.object or thing.text, good=inflected, bad=inflected)


def languages() -> tuple[str, ...]:
    """The codes of the languages that have a file."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


@cache
def sentences_of(language: str) -> Sentences:
    """The project's own sentences in a language, by its code."""
    return read_sentences(FOLDER / f"{language}.yaml")


def read_sentences(path: Path) -> Sentences:
    """Read a file of sentences.

    Raises
    ------
    ConfigurationError
        If it cannot be read, or a field is missing, unknown or inconsistent; the message names it.
    """
    try:
        return Sentences.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path} cannot be read as sentences of behaviour tests: {error}") from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ConfigurationError(
            f"{path}: {where}{': ' if where else ''}{problem['msg'].removeprefix('Value error, ')}. "
            f"The files in {FOLDER} show the form."
        ) from error


def guess_language(texts: Sequence[str]) -> tuple[str | None, str]:
    """Guess the language of tweets by their function words.

    Returns
    -------
    str or None
        Its code, if there is a file for it.
    str
        A clause that says why.
    """
    words = Counter(word.lower() for text in texts for word in WORD.findall(text))
    total = sum(words.values())
    if len(texts) < FEW_TWEETS or not total:
        return None, f"{len(texts)} tweets are too few to guess their language"
    shares = {code: sum(words[word] for word in {*sentences_of(code).function_words}) / total for code in languages()}
    (best, share), (_, second) = sorted(shares.items(), key=lambda pair: -pair[1])[:2]
    if share < RECOGNISED_SHARE or share < RECOGNISED_LEAD * second:
        names = ", ".join(sentences_of(code).language for code in languages())
        return None, f"the tweets are in none of {names}, by their function words"
    return best, f"{share:.0%} of the words are function words of {sentences_of(best).language}"


def _slots(frame: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(frame) if name}
