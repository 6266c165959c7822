"""TF-IDF of words and of characters inside words, for linear models: features, packaging and the most telling words."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from polarity.inference.package import ModelManifest
from polarity.inference.tfidf import VOCABULARY, WEIGHTS, NgramBlock, TfidfModel
from polarity.text.ngrams import character_ngrams, word_ngrams

if TYPE_CHECKING:
    from sklearn.pipeline import FeatureUnion

Floats = npt.NDArray[np.floating[Any]]
Sizes = tuple[int, int]


def ngram_features(
    words: Sizes, characters: Sizes | None, *, char_weight: float, min_df: int, max_features: int | None
) -> FeatureUnion:
    """scikit-learn's TF-IDF over the same n-grams that serving uses.

    Parameters
    ----------
    words, characters : (int, int)
        Shortest and longest n-gram; without `characters`, only words are used.
    char_weight : float
        Weight of the character n-grams relative to the words.
    min_df : int
        Ignore n-grams that occur in fewer tweets than this.
    max_features : int or None
        Keep at most this many n-grams of each kind.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import FeatureUnion

    shared: dict[str, Any] = {
        "min_df": min_df,
        "max_features": max_features,
        "sublinear_tf": True,
        "dtype": np.float32,
    }
    kinds = {"words": (word_ngrams, words), "characters": (character_ngrams, characters)}
    return FeatureUnion(
        [
            (kind, TfidfVectorizer(analyzer=partial(analyse, shortest=sizes[0], longest=sizes[1]), **shared))
            for kind, (analyse, sizes) in kinds.items()
            if sizes
        ],
        transformer_weights={"characters": char_weight} if characters else None,
    )


def linear_model(features: FeatureUnion, coefficients: Floats, intercepts: Floats) -> TfidfModel:
    """The model that serving loads, from a linear model fitted on `ngram_features`.

    Parameters
    ----------
    features : FeatureUnion
        The fitted features.
    coefficients : float array of shape (n_labels, n_features), or (1, n_features) for two labels
        `coef_` of a scikit-learn linear classifier.
    intercepts : float array of shape (n_labels,) or (1,)
        `intercept_` of the classifier.
    """
    if len(coefficients) == 1:
        coefficients, intercepts = np.vstack([0 * coefficients, coefficients]), np.append(0, intercepts)
    vectorizers = dict(features.transformer_list)
    # scaling the columns of a vectoriser is equivalent to scaling their coefficients
    scales = [
        np.full(len(vectorizer.idf_), (features.transformer_weights or {}).get(kind, 1.0))
        for kind, vectorizer in vectorizers.items()
    ]
    return TfidfModel(
        [
            NgramBlock(
                kind=kind,
                shortest=vectorizer.analyzer.keywords["shortest"],
                longest=vectorizer.analyzer.keywords["longest"],
                ngrams=vectorizer.get_feature_names_out().tolist(),
            )
            for kind, vectorizer in vectorizers.items()
        ],
        idf=np.concatenate([vectorizer.idf_ for vectorizer in vectorizers.values()]).astype(np.float32),
        coefficients=(coefficients * np.concatenate(scales)).astype(np.float32),
        intercepts=intercepts.astype(np.float32),
    )


def column_per_label(decision: Floats) -> Floats:
    """Logits of shape (n, n_labels); scikit-learn returns a single column for two labels."""
    return decision if decision.ndim == 2 else np.column_stack([np.zeros_like(decision), decision])


def telling_words(packaged: Path, *, most: int = 15) -> dict[str, list[tuple[str, float]]]:
    """The word n-grams with the largest weights for each label, in descending order.

    A weight is the n-gram's coefficient for the label minus its mean coefficient over all labels.

    Parameters
    ----------
    packaged : Path
        Folder of a packaged `TfidfModel`.
    most : int
        Number of n-grams per label.
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
    heaviest = {label: np.argsort(-of_words[at])[:most] for at, label in enumerate(labels)}
    return {
        label: [(block.ngrams[i], float(of_words[at, i])) for i in heaviest[label]] for at, label in enumerate(labels)
    }
