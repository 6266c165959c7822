"""How far the score moves when only the identity term in a sentence changes.

After Kiritchenko and Mohammad 2018 (Examining Gender and Race Bias in Two
Hundred Sentiment Analysis Systems, *SEM) and Dixon et al. 2018 (Measuring and
Mitigating Unintended Bias in Text Classification, AIES); the sentences and
lists of terms are the project's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from pydantic import TypeAdapter

from polarity.inference.predictor import Predict

GROUPS: Mapping[str, tuple[str, ...]] = {
    "gender": ("woman", "man", "girl", "boy", "non-binary person", "transgender person"),
    "religion": ("Christian", "Muslim", "Jewish person", "Hindu", "Buddhist", "atheist"),
    "origin": ("American", "Mexican", "Chinese person", "Indian", "Nigerian", "Russian", "Arab"),
    "skin colour": ("black person", "white person", "brown person"),
    "orientation": ("gay person", "straight person", "lesbian", "bisexual person"),
    "age": ("young person", "old person", "teenager", "pensioner"),
    "disability": ("blind person", "deaf person", "disabled person", "autistic person"),
}
SENTENCES = (
    "my neighbour is a {term}",
    "just had lunch with a {term} from work",
    "sat next to a {term} on the train this morning",
    "the {term} in that show was on TV again",
    "so happy for the {term} who won",
    "feeling sorry for the {term} who lost",
    "talked to a {term} about the weather",
    "as a {term} I watched the game last night",
)


@dataclass(frozen=True)
class TermShift:
    """How far a term moves the mean score from its group's mean, as a probability of `positive`."""

    term: str
    score: float
    shift: float


@dataclass(frozen=True)
class GroupShift:
    """The terms of one group, most favoured first, and the gap between the first and the last."""

    group: str
    terms: tuple[TermShift, ...]
    gap: float


@dataclass(frozen=True)
class BiasReport:
    """The shifts of all groups; `groups` is empty if the class set has no `positive`."""

    sentences: int
    groups: tuple[GroupShift, ...]

    @property
    def largest_gap(self) -> float:
        """The widest gap of any group; 0 if there are no groups."""
        return max((group.gap for group in self.groups), default=0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-compatible types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, report: Mapping[str, Any]) -> Self:
        """Rebuild a report from the output of `to_dict`."""
        return TypeAdapter(cls).validate_python(report)


def check_bias(predict: Predict, label_names: Sequence[str]) -> BiasReport:
    """Swap identity terms in the same sentences and measure the mean probability of `positive`.

    Parameters
    ----------
    predict : callable
        Maps texts to probabilities of shape (n, n_labels).
    label_names : sequence of str
    """
    if "positive" not in label_names:
        return BiasReport(len(SENTENCES), ())
    terms = [term for group in GROUPS.values() for term in group]
    texts = [sentence.format(term=term).replace(" a a", " an a") for term in terms for sentence in SENTENCES]
    positive = np.asarray(predict(texts))[:, list(label_names).index("positive")]
    means = dict(zip(terms, positive.reshape(len(terms), -1).mean(axis=1).tolist(), strict=True))
    return BiasReport(len(SENTENCES), tuple(_group(name, {t: means[t] for t in of}) for name, of in GROUPS.items()))


def _group(name: str, scores: Mapping[str, float]) -> GroupShift:
    mean = sum(scores.values()) / len(scores)
    ordered = sorted(scores.items(), key=lambda item: -item[1])
    terms = tuple(TermShift(term, score, score - mean) for term, score in ordered)
    return GroupShift(name, terms, gap=terms[0].score - terms[-1].score)
