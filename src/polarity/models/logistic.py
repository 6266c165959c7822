"""TF-IDF of words and of characters inside words, with logistic regression: one scikit-learn pipeline."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from polarity.data.tweets import FloatArray, IntArray, Tweets
from polarity.models.base import History, PackagedModel, Progress
from polarity.models.calibration import fit_temperature
from polarity.models.measure import loss_and_accuracy
from polarity.models.subsample import stratified_subsample
from polarity.models.watched import Watched
from polarity.packaging.parity import require_parity
from polarity.sections import LogisticConfig
from polarity.serving.package import ModelManifest
from polarity.serving.predictor import Predictor
from polarity.serving.softmax import softmax
from polarity.serving.tfidf import TFIDF_FILES, NgramBlock, TfidfModel
from polarity.text.ngrams import character_ngrams, word_ngrams

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import FeatureUnion, Pipeline

# The learning curve is measured on so many rows of each part, and after the first iterations only now and then,
# so that it costs less than the fit itself.
CURVE_ROWS = 10_000
CURVE_DENSE = 10
CURVE_EVERY = 5
REPORT_EVERY_S = 1.0


class LogisticClassifier:
    """TF-IDF with logistic regression; the weights are those of the converged, convex problem."""

    family: ClassVar[str] = "logistic"

    def __init__(self, config: LogisticConfig, *, name: str, seed: int) -> None:
        self._config = config
        self._name = name
        self._seed = seed

    def fit(self, train: Tweets, validation: Tweets, progress: Progress) -> FittedLogistic:
        """Fit on `train`; `validation` gives the learning curve and the temperature."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import Pipeline

        config = self._config
        train = stratified_subsample(train, config.train_rows, seed=self._seed)
        features = _features(config)
        passes = 1 if config.char_ngrams is None else 2
        watched = Watched(train.texts, lambda share: progress(0.6 * share / passes, "counting n-grams"))
        x_train = features.fit_transform(watched)
        x_validation = features.transform(validation.texts)

        estimator = LogisticRegression(
            C=config.c, class_weight=config.class_weight, max_iter=config.max_iter, tol=config.tolerance
        )
        curve = _Curve(
            parts={
                "": (x_train[:CURVE_ROWS], train.labels[:CURVE_ROWS]),
                "validation_": (x_validation[:CURVE_ROWS], validation.labels[:CURVE_ROWS]),
            },
            max_iter=config.max_iter,
            progress=progress,
        )
        estimator.set_callbacks(curve).fit(x_train, train.labels)
        estimator.set_callbacks()

        temperature = 1.0
        if config.calibrate:
            temperature = fit_temperature(_logits(estimator.decision_function(x_validation)), validation.labels)
        notes = {
            "features": x_train.shape[1],
            "train_rows": len(train),
            "iterations": int(estimator.n_iter_.max()),
            "temperature": temperature,
        }
        progress(1.0, f"fitted {x_train.shape[1]:,} weights on {len(train):,} tweets")
        return FittedLogistic(
            pipeline=Pipeline([("features", features), ("classifier", estimator)]),
            temperature=temperature,
            history=History(tuple(curve.epochs), notes),
            name=self._name,
            validation=validation,
        )


@dataclass(frozen=True)
class FittedLogistic:
    """The fitted pipeline and its temperature."""

    pipeline: Pipeline
    temperature: float
    history: History
    name: str
    validation: Tweets

    def predict_proba(self, texts: Sequence[str]) -> FloatArray:
        """Probabilities of shape (n_texts, n_labels), float32, rows summing to 1."""
        return softmax(_logits(self.pipeline.decision_function(texts)), temperature=self.temperature)

    def export(self, folder: Path) -> PackagedModel:
        """Write the n-grams and their weights, which need neither scikit-learn nor pickle to be read.

        Raises
        ------
        ArtifactError
            If what was written does not agree with the pipeline on the validation tweets.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._served().save(folder)
        manifest = ModelManifest.describe(
            folder,
            TFIDF_FILES,
            family=LogisticClassifier.family,
            name=self.name,
            labels=self.validation.label_names,
            precision="fp32",
            temperature=self.temperature,
            max_tokens=None,
            card={},
        )
        manifest.write(folder)
        parity = require_parity(
            self.predict_proba(self.validation.texts),
            Predictor.load(folder)(self.validation.texts),
            what=f"'{self.name}' as packaged in '{folder}'",
        )
        manifest.with_card({"parity": parity}).write(folder)
        return PackagedModel(folder, manifest.size_bytes, manifest.precision)

    def _served(self) -> TfidfModel:
        estimator = self.pipeline["classifier"]
        coefficients, intercepts = estimator.coef_, estimator.intercept_
        if len(coefficients) == 1:
            coefficients, intercepts = np.vstack([0 * coefficients, coefficients]), np.append(0, intercepts)
        features = self.pipeline["features"]
        vectorizers = dict(features.transformer_list)
        # what scales a vectoriser's columns may as well scale their coefficients
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


def _features(config: LogisticConfig) -> FeatureUnion:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import FeatureUnion

    shared: dict[str, Any] = {
        "min_df": config.min_df,
        "max_features": config.max_features,
        "sublinear_tf": True,
        "dtype": np.float32,
    }
    kinds = {"words": (word_ngrams, config.word_ngrams), "characters": (character_ngrams, config.char_ngrams)}
    return FeatureUnion(
        [
            (kind, TfidfVectorizer(analyzer=partial(analyse, shortest=sizes[0], longest=sizes[1]), **shared))
            for kind, (analyse, sizes) in kinds.items()
            if sizes
        ],
        transformer_weights={"characters": config.char_weight} if config.char_ngrams else None,
    )


def _logits(decision: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    """One logit per label; scikit-learn gives a single column for two labels."""
    return decision if decision.ndim == 2 else np.column_stack([np.zeros_like(decision), decision])


class _Curve:
    """scikit-learn callback that measures the solver's iterations."""

    def __init__(self, *, parts: dict[str, tuple[Any, IntArray]], max_iter: int, progress: Progress) -> None:
        self.epochs: list[dict[str, float]] = []
        self._parts = parts
        self._max_iter = max_iter
        self._progress = progress
        self._iteration = 0
        self._reported = 0.0

    def setup(self, estimator: LogisticRegression, context: Any) -> None:
        """Part of scikit-learn's protocol; there is nothing to set up."""

    def teardown(self, estimator: LogisticRegression, context: Any) -> None:
        """Part of scikit-learn's protocol; there is nothing to tear down."""

    def on_fit_task_begin(self, estimator: LogisticRegression, context: Any, **state: Any) -> None:
        """Part of scikit-learn's protocol; only ends are measured."""

    def on_fit_task_end(
        self,
        estimator: LogisticRegression,
        context: Any,
        *,
        fitted_estimator: LogisticRegression | None = None,
        **state: Any,
    ) -> None:
        """Measure the state after an iteration."""
        if context.task_name != "lbfgs-iter" or fitted_estimator is None:
            return
        self._iteration += 1
        if self._iteration > CURVE_DENSE and self._iteration % CURVE_EVERY:
            return
        metrics: dict[str, float] = {"epoch": self._iteration}
        for prefix, (features, labels) in self._parts.items():
            logits = _logits(fitted_estimator.decision_function(features))
            metrics |= loss_and_accuracy(logits, labels, prefix=prefix)
        self.epochs.append(metrics)
        if time.monotonic() - self._reported > REPORT_EVERY_S:
            self._reported = time.monotonic()
            share = self._iteration / self._max_iter
            self._progress(0.6 + 0.35 * share, f"iteration {self._iteration}", **metrics)
