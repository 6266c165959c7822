"""TF-IDF of words and of characters inside words, with logistic regression: one scikit-learn pipeline."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from polarity.families.calibration import fit_temperature, loss_and_accuracy
from polarity.families.packaging import write_package
from polarity.families.progress import REPORT_EVERY_S, CountedReads, Progress
from polarity.families.protocol import Family, History, ModelSection, PackagedModel, SearchSpace
from polarity.families.sampling import stratified_rows
from polarity.families.tfidf import column_per_label, linear_model, ngram_features, telling_words
from polarity.inference.package import ModelManifest
from polarity.inference.placement import Placement
from polarity.inference.softmax import softmax
from polarity.inference.tfidf import TFIDF_FILES, TfidfModel
from polarity.inference.traits import INLINE, Traits
from polarity.text.tweets import FloatArray, IntArray, Tweets

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

# The learning curve is measured on a limited number of rows, and only on some iterations after the first few, so that
# it costs less than the fit itself.
CURVE_ROWS = 10_000
CURVE_DENSE = 10
CURVE_EVERY = 5


class LogisticConfig(ModelSection):
    """TF-IDF of words and characters with logistic regression."""

    word_ngrams: tuple[int, int] = (1, 2)
    """Shortest and longest word n-gram."""
    char_ngrams: tuple[int, int] | None = (3, 5)
    """Shortest and longest character n-gram inside words; None disables them."""
    char_weight: float = Field(0.5, gt=0)
    """Weight of the character n-grams relative to the words."""
    min_df: int = Field(2, ge=1)
    """Ignore n-grams that occur in fewer tweets than this."""
    max_features: int | None = Field(None, ge=100)
    """Keep at most this many n-grams of each kind. Default: all."""
    c: float = Field(2.0, gt=0)
    """Inverse strength of the L2 penalty."""
    max_iter: int = Field(200, ge=1)
    """Maximum number of solver iterations; about 40 are typical."""
    tolerance: float = Field(1e-5, gt=0)
    """Gradient tolerance of the solver."""
    class_weight: Literal["balanced"] | None = None
    """`balanced` weights classes by their inverse frequency."""
    calibrate: bool = True
    """Scale the logits by a temperature fitted on validation."""


class Logistic(Family[LogisticConfig]):
    """TF-IDF with logistic regression."""

    name = "logistic"
    section = LogisticConfig
    # the problem is convex and solved to convergence, so the seed does not change the weights
    traits = Traits(additive=True, exact=True, exhaustive_search=True, shard_rows=20_000, execution=INLINE)
    exports: ClassVar[Mapping[str, str]] = {"sklearn": "polarity.families.sklearn_export:write_sklearn"}
    search_space: ClassVar[SearchSpace] = {
        "c": [0.5, 1.0, 2.0, 4.0],
        "word_ngrams": [[1, 1], [1, 2]],
        "char_ngrams": [None, [3, 5]],
    }
    libraries = ("numpy", "scipy", "scikit-learn", "ftfy")

    def classifier(self, section: LogisticConfig, *, name: str, seed: int) -> LogisticClassifier:
        return LogisticClassifier(section, name=name, seed=seed)

    def scorer(self, folder: Path, manifest: ModelManifest, placement: Placement) -> TfidfModel:
        return TfidfModel.load(folder)

    def telling_words(self, packaged: Path) -> dict[str, list[tuple[str, float]]]:
        return telling_words(packaged)


class LogisticClassifier:
    """An unfitted logistic regression on TF-IDF features; the convex problem is solved to convergence."""

    def __init__(self, config: LogisticConfig, *, name: str, seed: int) -> None:
        self._config = config
        self._name = name
        self._seed = seed

    def fit(self, train: Tweets, validation: Tweets, progress: Progress) -> FittedLogistic:
        """Fit on `train`; `validation` is used for the learning curve and the temperature."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import Pipeline

        config = self._config
        features = ngram_features(
            config.word_ngrams,
            config.char_ngrams,
            char_weight=config.char_weight,
            min_df=config.min_df,
            max_features=config.max_features,
        )
        passes = 1 if config.char_ngrams is None else 2
        texts = CountedReads(train.texts, lambda share: progress(0.6 * share / passes, "counting n-grams"))
        x_train = features.fit_transform(texts)
        x_validation = features.transform(validation.texts)

        estimator = LogisticRegression(
            C=config.c, class_weight=config.class_weight, max_iter=config.max_iter, tol=config.tolerance
        )
        # a random sample: the first rows of a file sorted by label have one class
        of_train = stratified_rows(train, CURVE_ROWS, seed=self._seed)
        of_validation = stratified_rows(validation, CURVE_ROWS, seed=self._seed)
        curve = _Curve(
            parts={
                "": (x_train[of_train], train.labels[of_train]),
                "validation_": (x_validation[of_validation], validation.labels[of_validation]),
            },
            max_iter=config.max_iter,
            progress=progress,
        )
        estimator.set_callbacks(curve).fit(x_train, train.labels)
        estimator.set_callbacks()

        temperature = 1.0
        if config.calibrate:
            temperature = fit_temperature(
                column_per_label(estimator.decision_function(x_validation)), validation.labels
            )
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
        return softmax(column_per_label(self.pipeline.decision_function(texts)), temperature=self.temperature)

    def export(self, folder: Path) -> PackagedModel:
        """Write the n-grams and their weights, which can be read without scikit-learn or pickle.

        Raises
        ------
        ArtifactError
            If the package does not agree with the pipeline on the validation tweets.
        """
        folder.mkdir(parents=True, exist_ok=True)
        classifier = self.pipeline["classifier"]
        linear_model(self.pipeline["features"], classifier.coef_, classifier.intercept_).save(folder)
        return write_package(
            Logistic(),
            folder,
            TFIDF_FILES,
            name=self.name,
            temperature=self.temperature,
            validation=self.validation,
            trained=self.predict_proba(self.validation.texts),
        )


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
            logits = column_per_label(fitted_estimator.decision_function(features))
            metrics |= loss_and_accuracy(logits, labels, prefix=prefix)
        self.epochs.append(metrics)
        if time.monotonic() - self._reported > REPORT_EVERY_S:
            self._reported = time.monotonic()
            share = self._iteration / self._max_iter
            self._progress(0.6 + 0.35 * share, f"iteration {self._iteration}", **metrics)
