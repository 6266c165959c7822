"""How far the score moves when only the identity term in a sentence changes.

After Kiritchenko and Mohammad 2018 (Examining Gender and Race Bias in Two
Hundred Sentiment Analysis Systems, *SEM) and Dixon et al. 2018 (Measuring and
Mitigating Unintended Bias in Text Classification, AIES); the sentences and
lists of terms are those of the tweets' language (`polarity.evaluation.sentences`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from pydantic import TypeAdapter

from polarity.evaluation.sentences import Identity
from polarity.inference.predictor import Predict

_SLOT = re.compile(r"\{\w+\}")


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
    """The shifts of all groups; without any, `missing` says why. `example` is one of the sentences, with a gap."""

    sentences: int
    groups: tuple[GroupShift, ...]
    example: str = ""
    missing: str = ""

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


def check_bias(predict: Predict, label_names: Sequence[str], identity: Identity | None) -> BiasReport:
    """Swap identity terms in the same sentences and measure the mean probability of `positive`.

    Parameters
    ----------
    predict : callable
        Maps texts to probabilities of shape (n, n_labels).
    label_names : sequence of str
    identity : Identity or None
        Sentences and terms; None if there are none in the tweets' language.
    """
    if "positive" not in label_names:
        return BiasReport(0, (), missing="The check needs the class “positive”.")
    if identity is None:
        return BiasReport(0, (), missing="There are no sentences about people in the language of the tweets.")
    terms = [term for group in identity.groups.values() for term in group]
    texts = [sentence.format(**term) for term in terms for sentence in identity.sentences]
    positive = np.asarray(predict(texts))[:, list(label_names).index("positive")]
    means = iter(positive.reshape(len(terms), -1).mean(axis=1).tolist())
    groups = [
        _group(name, {next(iter(term.values())): next(means) for term in of}) for name, of in identity.groups.items()
    ]
    example = _SLOT.sub("…", identity.sentences[0])
    return BiasReport(len(identity.sentences), tuple(groups), example=example)


def _group(name: str, scores: Mapping[str, float]) -> GroupShift:
    mean = sum(scores.values()) / len(scores)
    ordered = sorted(scores.items(), key=lambda item: -item[1])
    terms = tuple(TermShift(term, score, score - mean) for term, score in ordered)
    return GroupShift(name, terms, gap=terms[0].score - terms[-1].score)
