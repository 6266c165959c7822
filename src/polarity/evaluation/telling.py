"""The n-grams that weigh most in a packaged logistic regression."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from polarity.serving.package import ModelManifest
from polarity.serving.tfidf import VOCABULARY, WEIGHTS, NgramBlock


def telling_words(packaged: Path, *, most: int = 15) -> dict[str, list[tuple[str, float]]]:
    """The word n-grams that speak most for each label, the weightiest first.

    A weight is how much more an n-gram adds to the label's score than to the mean of all labels.

    Parameters
    ----------
    packaged : Path
        Folder of a packaged model of the family `logistic`.
    most : int
        N-grams a label.
    """
    labels = ModelManifest.read(packaged).labels
    blocks = msgspec.json.decode((packaged / VOCABULARY).read_bytes(), type=list[NgramBlock])
    with np.load(packaged / WEIGHTS) as weights:
        coefficients = weights["coefficients"]
    start = 0
    for block in blocks:
        if block.kind == "words":
            break
        start += len(block.ngrams)
    of_words = coefficients[:, start : start + len(block.ngrams)]
    of_words = of_words - of_words.mean(axis=0)
    told = {}
    for at, label in enumerate(labels):
        heaviest = np.argsort(-of_words[at])[:most]
        told[label] = [(block.ngrams[i], float(of_words[at, i])) for i in heaviest]
    return told
