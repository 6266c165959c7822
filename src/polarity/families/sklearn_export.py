"""TF-IDF with logistic regression as a scikit-learn pipeline, saved by skops."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from polarity.families.exports import CARD, ExportSource, model_card
from polarity.inference.tfidf import VOCABULARY, WEIGHTS, FloatArray, NgramBlock
from polarity.text.cleaning import repair
from polarity.text.ngrams import character_ngrams, word_ngrams

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

PIPELINE = "model.skops"

_USAGE = """\
```python
import skops.io

trusted = skops.io.get_untrusted_types(file="model.skops")  # read it: what stands there may run
pipeline = skops.io.load("model.skops", trusted=trusted)
pipeline.predict_proba(["what a lovely day"])
```

The pipeline cleans the texts, and its temperature is part of the weights. Its functions for cleaning and n-grams are
those of Polarity, which must be importable (`polarity.text`, `polarity.families.sklearn_export`). It was written with
scikit-learn {sklearn} and skops {skops}.
"""


def repair_all(texts: Sequence[str]) -> list[str]:
    """The texts as they are cleaned for training and serving."""
    return [repair(text) for text in texts]


def write_sklearn(source: ExportSource, folder: Path) -> None:
    """Write `model.skops` and a card into an empty folder."""
    import sklearn
    import skops
    import skops.io

    skops.io.dump(sklearn_pipeline(source), folder / PIPELINE)
    usage = _USAGE.format(sklearn=sklearn.__version__, skops=skops.__version__)
    (folder / CARD).write_text(model_card(source.manifest, usage), encoding="utf-8")


def sklearn_pipeline(source: ExportSource) -> Pipeline:
    """A fitted pipeline from texts to labels that gives the probabilities of the package."""
    from sklearn.pipeline import FeatureUnion, Pipeline
    from sklearn.preprocessing import FunctionTransformer

    blocks = msgspec.json.decode((source.packaged / VOCABULARY).read_bytes(), type=list[NgramBlock])
    with np.load(source.packaged / WEIGHTS) as weights:
        idf, coefficients, intercepts = (weights[name] for name in ("idf", "coefficients", "intercepts"))
    starts = np.cumsum([0, *(len(block.ngrams) for block in blocks)])
    vectorizers = [
        (block.kind, _vectorizer(block, idf[start : start + len(block.ngrams)]))
        for block, start in zip(blocks, starts, strict=False)
    ]
    temperature = source.manifest.temperature
    classifier = _classifier(source.manifest.labels, coefficients / temperature, intercepts / temperature)
    return Pipeline(
        [
            ("cleaning", FunctionTransformer(repair_all)),
            ("features", FeatureUnion(vectorizers)),
            ("classifier", classifier),
        ]
    )


def _vectorizer(block: NgramBlock, idf: FloatArray) -> TfidfVectorizer:
    from sklearn.feature_extraction.text import TfidfVectorizer

    analyse = {"words": word_ngrams, "characters": character_ngrams}[block.kind]
    vectorizer = TfidfVectorizer(
        analyzer=partial(analyse, shortest=block.shortest, longest=block.longest),
        vocabulary={ngram: column for column, ngram in enumerate(block.ngrams)},
        sublinear_tf=True,
        dtype=np.float32,
    )
    vectorizer.idf_ = idf
    return vectorizer


def _classifier(labels: Sequence[str], coefficients: FloatArray, intercepts: FloatArray) -> LogisticRegression:
    from sklearn.linear_model import LogisticRegression

    classifier = LogisticRegression()
    if len(labels) == 2:  # scikit-learn has one row of weights for two labels
        coefficients, intercepts = coefficients[1:] - coefficients[:1], intercepts[1:] - intercepts[:1]
    classifier.classes_ = np.array(labels)
    classifier.coef_, classifier.intercept_ = coefficients, intercepts
    classifier.n_features_in_ = coefficients.shape[1]
    classifier.n_iter_ = np.array([0], np.int32)
    return classifier
