"""Classification metrics on labelled tweets, with confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.stats import norm
from sklearn.metrics import log_loss, roc_auc_score

from polarity.evaluation.calibration import brier_score, expected_calibration_error
from polarity.evaluation.resampling import design_effect, repeated_texts, resampled_counts

Interval = tuple[float, float]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CONFIDENCE = 0.95
SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Metrics:
    """Metrics of one classifier on one set of tweets.

    Macro averages are over the classes that occur in the labels or in the
    predictions. Intervals are at 95 %: Wilson's for the accuracy, a percentile
    bootstrap for macro-F1 and recall. Where a text occurs several times, its
    tweets are not independent: the bootstrap draws texts, and Wilson's interval
    is that of the effective number of tweets. `auc` (one class against the rest,
    averaged) is `None` unless every class of the set occurs.
    """

    rows: int
    accuracy: float
    accuracy_interval: Interval
    macro_f1: float
    macro_f1_interval: Interval
    precision: float
    recall: float
    recall_interval: Interval
    auc: float | None
    log_loss: float
    brier: float
    ece: float

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics as JSON-compatible types."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, figures: Mapping[str, Any]) -> Self:
        """Rebuild metrics from the output of `to_dict`."""
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in figures.items()}
        return cls(**fields)

    def scalars(self, prefix: str) -> dict[str, float]:
        """Return scalars as `{prefix}_{name}` and interval bounds as `..._low` and `..._high`; `None` is omitted."""
        flat: dict[str, float] = {}
        for name, value in asdict(self).items():
            if isinstance(value, tuple):
                stem = name.removesuffix("_interval")
                flat[f"{prefix}_{stem}_low"], flat[f"{prefix}_{stem}_high"] = value
            elif value is not None:
                flat[f"{prefix}_{name}"] = float(value)
        return flat


def measure(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    label_names: Sequence[str],
    seed: int,
    resamples: int = 1000,
    groups: npt.ArrayLike | None = None,
) -> Metrics:
    """Compute the metrics of probabilities against the true labels.

    Parameters
    ----------
    labels : int array of shape (n,)
        True labels, as indices into `label_names`.
    probabilities : float array of shape (n, n_labels)
        One column per label, in the order of `label_names`.
    label_names : sequence of str
        The class set.
    seed : int
        Seed of the bootstrap.
    resamples : int, default 1000
        Bootstrap resamples.
    groups : int array of shape (n,), optional
        Equal for tweets with the same text. Default: every text occurs once.

    Raises
    ------
    ValueError
        If the shapes do not match, there are no rows, a label is outside the class
        set, or a row's probabilities are not finite or do not sum to one.
    """
    n_labels = len(label_names)
    true, scores = _validated(labels, probabilities, n_labels=n_labels)
    predicted, rows = scores.argmax(axis=1), len(true)
    confusion = confusion_counts(true, predicted, n_labels=n_labels)
    precision, recall, f1 = _macro_scores(confusion[None])
    texts = repeated_texts(groups, rows)
    draws = resampled_counts(true * n_labels + predicted, texts, n_cells=n_labels**2, seed=seed, resamples=resamples)
    _, drawn_recall, drawn_f1 = _macro_scores(draws.reshape(resamples, n_labels, n_labels))
    hits = int(np.trace(confusion))
    return Metrics(
        rows=rows,
        accuracy=hits / rows,
        accuracy_interval=wilson_interval(hits, rows, design_effect=design_effect(predicted == true, texts)),
        macro_f1=float(f1[0]),
        macro_f1_interval=percentile_interval(drawn_f1),
        precision=float(precision[0]),
        recall=float(recall[0]),
        recall_interval=percentile_interval(drawn_recall),
        auc=_auc(true, scores),
        log_loss=float(log_loss(true, scores / scores.sum(axis=1, keepdims=True), labels=range(n_labels))),
        brier=brier_score(true, scores),
        ece=expected_calibration_error(true, scores),
    )


def _validated(labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, n_labels: int) -> tuple[Ints, Floats]:
    """Return arrays of shapes (n,) and (n, n_labels) in double precision, or raise `ValueError`."""
    true = np.asarray(labels, dtype=np.int64)
    scores = np.asarray(probabilities, dtype=np.float64)
    if true.ndim != 1 or scores.shape != (len(true), n_labels):
        raise ValueError(
            f"Got labels of shape {true.shape} and probabilities of shape {scores.shape}; "
            f"expected (n,) and (n, {n_labels})."
        )
    if not len(true):
        raise ValueError("Got no rows; at least one labelled tweet is needed.")
    if true.min() < 0 or true.max() >= n_labels:
        raise ValueError(f"Got labels from {true.min()} to {true.max()}; they must be indices 0 to {n_labels - 1}.")
    valid = np.isfinite(scores).all(axis=1) & (abs(scores.sum(axis=1) - 1) < SUM_TOLERANCE) & (scores >= 0).all(axis=1)
    if not valid.all():
        bad = int(np.flatnonzero(~valid)[0])
        raise ValueError(
            f"Got probabilities {scores[bad].tolist()} in row {bad}; they must be between 0 and 1 and sum to 1."
        )
    return true, scores


def confusion_counts(labels: npt.NDArray[Any], predicted: npt.NDArray[Any], *, n_labels: int) -> Ints:
    """Return counts of shape (n_labels, n_labels): rows are true labels, columns predicted ones."""
    cells = np.bincount(np.asarray(labels) * n_labels + np.asarray(predicted), minlength=n_labels**2)
    return cells.reshape(n_labels, n_labels).astype(np.int64)


def macro_f1_of(confusions: npt.NDArray[Any]) -> Floats:
    """Return the macro-F1 of each of `confusions`, of shape (m, n_labels, n_labels)."""
    return _macro_scores(confusions)[2]


def macro_f1(labels: npt.NDArray[Any], predicted: npt.NDArray[Any], *, n_labels: int) -> float:
    """Return the macro-F1 of predicted labels of shape (n,)."""
    return float(macro_f1_of(confusion_counts(labels, predicted, n_labels=n_labels)[None])[0])


def accuracy_of(confusions: npt.NDArray[Any]) -> Floats:
    """Return the accuracy of each of `confusions`, of shape (m, n_labels, n_labels)."""
    accuracy: Floats = np.trace(confusions, axis1=1, axis2=2) / confusions.sum(axis=(1, 2))
    return accuracy


def wilson_interval(hits: int, rows: int, *, confidence: float = CONFIDENCE, design_effect: float = 1.0) -> Interval:
    """Return Wilson's score interval of a share (Wilson 1927, JASA 22, 209-212), within 0 and 1 even for small sets.

    With a `design_effect` above 1 it is that of `rows` / `design_effect` independent rows (Dean and Pagano 2015,
    Journal of Survey Statistics and Methodology 3, 484-503, recommend it for clustered data).
    """
    z = float(norm.ppf(0.5 + confidence / 2))
    share, effective = hits / rows, rows / design_effect
    centre = (share + z**2 / (2 * effective)) / (1 + z**2 / effective)
    half = z / (1 + z**2 / effective) * (share * (1 - share) / effective + z**2 / (4 * effective**2)) ** 0.5
    # Rounding may push a bound past the share itself if it is 0 or 1.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def percentile_interval(draws: Floats, *, confidence: float = CONFIDENCE) -> Interval:
    """Return the percentile interval of bootstrap `draws`.

    See Efron and Tibshirani 1993, An Introduction to the Bootstrap, 13.3.
    """
    low, high = np.quantile(draws, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def _macro_scores(confusions: npt.NDArray[Any]) -> tuple[Floats, Floats, Floats]:
    """Return macro precision, recall and F1 of each confusion matrix, over the classes that occur in it."""
    hits = np.diagonal(confusions, axis1=1, axis2=2)
    actual, predicted = confusions.sum(axis=2), confusions.sum(axis=1)
    occurs = (actual + predicted) > 0
    of_each = (
        hits / np.maximum(predicted, 1),
        hits / np.maximum(actual, 1),
        2 * hits / np.maximum(actual + predicted, 1),
    )
    precision, recall, f1 = (scores.sum(axis=1) / occurs.sum(axis=1) for scores in of_each)
    return precision, recall, f1


def _auc(labels: Ints, scores: Floats) -> float | None:
    """Return the one-vs-rest area under the ROC curve, averaged; `None` if a class does not occur."""
    n_labels = scores.shape[1]
    if len(np.unique(labels)) < n_labels:
        return None
    # With two labels both columns give the same area, so one is enough.
    columns = range(1, n_labels) if n_labels == 2 else range(n_labels)
    return float(np.mean([roc_auc_score(labels == column, scores[:, column]) for column in columns]))
