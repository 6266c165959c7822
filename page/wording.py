"""All that people read, in their language, from `texts.yaml`."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import yaml

Language = Literal["en", "fr"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
TEXTS = Path(__file__).with_name("texts.yaml")
_FRENCH_SPACE = re.compile(r" (?=[?!:;»])|(?<=«) ")
_NARROW_SPACE = "\u202f"
# The margin between the two likeliest labels, below which the answer is put less firmly.
_UNSURE, _RATHER, _LIKELY = 0.2, 0.5, 0.9


class Wording:
    """The texts in one language.

    Parameters
    ----------
    language : str
    """

    def __init__(self, language: Language) -> None:
        self.language = language

    def __call__(self, name: str, /, **values: object) -> str:
        """The text of a name such as `ask.title`, with its gaps filled.

        Raises
        ------
        KeyError
            If there is no such text.
        """
        text = texts()[name][self.language]
        return text.format(**values) if values else text

    def label(self, label: str) -> str:
        """A label of the model; one that is not known here is shown as it is."""
        known = texts().get(f"labels.{label}")
        return known[self.language] if known else label

    def number(self, value: float, digits: int = 0) -> str:
        """A number with separators."""
        written = f"{value:,.{digits}f}"
        if self.language == "fr":
            return written.replace(",", _NARROW_SPACE).replace(".", ",")
        return written

    def percent(self, share: float, digits: int = 0) -> str:
        """A share in per cent."""
        return f"{self.number(share * 100, digits)}{_NARROW_SPACE if self.language == 'fr' else ''}%"

    def verdict(self, probabilities: dict[str, float]) -> str:
        """An answer in words, as firm as its probabilities."""
        margin = lead(probabilities)
        bounds = {"unsure": _UNSURE, "rather": _RATHER, "likely": _LIKELY}
        how = next((name for name, bound in bounds.items() if margin < bound), "sure")
        best = max(probabilities, key=probabilities.__getitem__)
        return self(f"verdict.{how}", label=self.label(best))


def lead(probabilities: dict[str, float]) -> float:
    """By how much the likeliest label leads the next one."""
    first, second = sorted(probabilities.values(), reverse=True)[:2]
    return first - second


def is_unsure(probabilities: dict[str, float]) -> bool:
    """Whether two labels are about equally likely."""
    return lead(probabilities) < _UNSURE


def closest_language(given: str | None) -> Language:
    """The language for a query parameter or a browser's locale, such as `fr-CA`; English if it is neither."""
    return "fr" if (given or "").lower().startswith("fr") else "en"


def plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{sign}" if sign in r"\`*_{}[]()#+-.!|<>$~:" else sign for sign in text)


@cache
def texts() -> dict[str, dict[Language, str]]:
    """All texts by name and language."""
    # The loader in C, where PyYAML has it, takes a tenth of the time.
    sections = yaml.load(TEXTS.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    found: dict[str, dict[Language, str]] = {}
    for section, of in sections.items():
        for name, both in of.items():
            # Lines must not begin with a punctuation mark.
            french = _FRENCH_SPACE.sub("\u00a0", both["fr"])
            found[f"{section}.{name}"] = {"en": both["en"], "fr": french}
    return found
