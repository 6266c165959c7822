"""Accuracy from answers that were drawn for labelling with known probabilities, alone or with a proxy for all answers.

Every answer is drawn independently of the others, with a probability that was fixed before anyone knew its label
(`polarity.record.labelling`). The estimates then hold whatever the model, the proxy and the traffic are like.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from polarity.watch.estimates import LEVEL, Estimate, Floats, Target, check_target, probabilities_of, score_interval

UNIFORM = "labels of a random share"
WEIGHTED = "labels weighted by their probability of being drawn"
PREDICTION_POWERED = "labels and a proxy for all answers (PPI++)"

MIN_OF_EACH = 5
"""Minimum number of right and of wrong labelled answers for a proxy to be used: from fewer, how well it explains the
labels cannot be distinguished from chance, and intervals become too short."""


@dataclass(frozen=True)
class LabelledSample:
    """The labelled answers of a window.

    Parameters
    ----------
    answers : int
        Number of answers in the window, N.
    rows : int array of shape (n,)
        Which answers are labelled: their positions, from 0 to N - 1.
    inclusion : float array of shape (n,)
        Probability with which each of them was drawn, as recorded when it was answered.
    correct : bool array of shape (n,)
        Whether each of them was answered with its label.
    drawn : int, optional
        Number of answers that were drawn, labelled so far or not. Default: all are labelled.

    Raises
    ------
    ValueError
        If there are no labels, lengths differ, a row occurs twice or lies outside the window, or a probability is not
        in (0, 1].
    """

    answers: int
    rows: npt.ArrayLike
    inclusion: npt.ArrayLike
    correct: npt.ArrayLike
    drawn: int | None = None

    def __post_init__(self) -> None:
        rows, inclusion, correct = (np.asarray(of) for of in (self.rows, self.inclusion, self.correct))
        if not len(rows):
            raise ValueError(f"Got no labels for {self.answers:,} answers; at least one labelled answer is needed.")
        if not rows.shape == inclusion.shape == correct.shape == (len(rows),):
            shapes = f"rows {rows.shape}, inclusion {inclusion.shape}, correct {correct.shape}"
            raise ValueError(f"Got {shapes}; all must have the same shape (n,).")
        outside = rows[(rows < 0) | (rows >= self.answers)]
        if len(outside):
            raise ValueError(f"Got row {outside[0]} in a window of {self.answers:,} answers; it must be below that.")
        distinct, times = np.unique(rows, return_counts=True)
        if len(distinct) < len(rows):
            raise ValueError(f"Got row {distinct[times > 1][0]} more than once; every answer has one label.")
        inclusion = inclusion.astype(np.float64)
        bad = np.flatnonzero(~((inclusion > 0) & (inclusion <= 1)))
        if len(bad):
            what = f"inclusion probability {inclusion[bad[0]]} for the labelled answer in row {rows[bad[0]]}"
            raise ValueError(f"Got {what}; an answer that was drawn has one above 0, and at most 1.")
        if self.drawn is not None and not len(rows) <= self.drawn <= self.answers:
            what = f"drawn={self.drawn} with {len(rows)} labels and {self.answers} answers"
            raise ValueError(f"Got {what}; it must lie between the two.")
        invalid = [value for value in correct.tolist() if value not in (0, 1)]
        if invalid:
            raise ValueError(f"Got {invalid[0]!r} in correct; each value must be True or False.")
        for name, value in (
            ("rows", rows.astype(np.int64)),
            ("inclusion", inclusion),
            ("correct", correct.astype(np.float64)),
        ):
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class _Weighted:
    """The labels of a sample with their weights: of how many answers each is representative."""

    answers: int
    uniform: bool
    weights: Floats
    correct: Floats

    @classmethod
    def of(cls, sample: LabelledSample) -> _Weighted:
        inclusion, correct = np.asarray(sample.inclusion, np.float64), np.asarray(sample.correct, np.float64)
        uniform = bool((inclusion == inclusion[0]).all())
        if uniform:
            # given their number, all sets of that many answers were equally likely
            return cls(sample.answers, True, np.full(len(correct), sample.answers / len(correct)), correct)
        response = len(correct) / (sample.drawn or len(correct))
        return cls(sample.answers, False, 1 / (inclusion * response), correct)

    def mean(self, values: Floats) -> float:
        """The mean of all answers, estimated by weighting (Hájek 1971)."""
        return float(self.weights @ values / self.weights.sum())

    @property
    def share(self) -> float:
        return self.mean(self.correct)

    @property
    def size(self) -> float:
        """Number of equally weighted labels that are worth as much (Kish 1965, Survey Sampling, 11.7)."""
        return float(self.weights.sum() ** 2 / (self.weights**2).sum())

    def draw_variance(self, residuals: Floats) -> float:
        """Variance that the draw gives to a weighted mean with these residuals, by linearisation."""
        return float((self.weights * (self.weights - 1)) @ residuals**2 / self.weights.sum() ** 2)


def labels_only(sample: LabelledSample, *, target: Target = "traffic", level: float = LEVEL) -> Estimate:
    """Estimate the accuracy from the labels of the drawn answers.

    If all were drawn with the same probability this is the share of correct ones with Wilson's interval. Otherwise
    each label is weighted by the inverse of its probability, normalised by the sum of the weights (Hájek 1971; Särndal,
    Swensson and Wretman 1992, Model Assisted Survey Sampling, 5.7), and the interval is Wilson's for the effective
    number of labels.

    Parameters
    ----------
    sample : LabelledSample
    target : {'traffic', 'window'}, default 'traffic'
        'window' is of exactly these answers, and shorter if a good part of them is labelled (finite population).
    level : float, default 0.95

    See Also
    --------
    prediction_powered : Shorter intervals from the same labels.
    """
    check_target(target, level)
    weighted = _Weighted.of(sample)
    method = UNIFORM if weighted.uniform else WEIGHTED
    return _estimate(sample, weighted, method, target, level, value=weighted.share)


def prediction_powered(
    sample: LabelledSample, proxy: npt.ArrayLike, *, target: Target = "traffic", level: float = LEVEL
) -> Estimate:
    """Estimate the accuracy from the labels and a proxy that is known for all answers.

    PPI++ (Angelopoulos, Duchi and Zrnic 2023, arXiv 2311.01453) for answers drawn with unequal probabilities (Zrnic and
    Candès 2024, Active Statistical Inference, arXiv 2403.03208): a factor times the mean of the proxy over all
    answers, plus the weighted mean of what remains of the labels. The factor is the one that minimises the estimated
    variance (power tuning), so a useless proxy gives the interval of the labels alone. A poor proxy does not make the
    interval wrong, it only fails to make it shorter.

    Parameters
    ----------
    sample : LabelledSample
    proxy : float array of shape (n_answers,)
        For every answer of the window, how likely it is to be correct: the served model's confidence, or a stronger
        model's probability of the label that was answered. It must not depend on these labels.
    target : {'traffic', 'window'}, default 'traffic'
    level : float, default 0.95

    Raises
    ------
    ValueError
        If the proxy has not one value between 0 and 1 for each answer.

    Notes
    -----
    With w = 1 / inclusion, weighted means p of correctness y and m of the proxy f over the labelled answers, and the
    mean M of f over all: the estimate is p + factor (M - m), the residuals are e = (y - p) - factor (f - m), and the
    draw's variance is sum w (w - 1) e² / (sum w)², which is least for the regression of y on f with weights w (w - 1).
    The variance of the traffic is that of y divided by the number of answers, in addition.
    """
    check_target(target, level)
    values = probabilities_of(proxy, "proxy")
    if len(values) != sample.answers:
        raise ValueError(f"Got a proxy for {len(values):,} answers; the window has {sample.answers:,}.")
    weighted = _Weighted.of(sample)
    of_labelled = values[np.asarray(sample.rows, np.int64)]
    right, labels = int(weighted.correct.sum()), len(weighted.correct)
    if min(right, labels - right) < MIN_OF_EACH:
        return _estimate(sample, weighted, PREDICTION_POWERED, target, level, value=weighted.share, few=True)
    y, f = weighted.correct - weighted.share, of_labelled - weighted.mean(of_labelled)
    importance = weighted.weights * (weighted.weights - 1)
    spread = float(importance @ f**2)
    factor = float(importance @ (y * f)) / spread if spread > 1e-12 * importance.sum() else 0.0
    value = weighted.share + factor * (float(values.mean()) - weighted.mean(of_labelled))
    residuals = None if factor == 0.0 else y - factor * f
    return _estimate(sample, weighted, PREDICTION_POWERED, target, level, value=value, residuals=residuals)


def _estimate(
    sample: LabelledSample,
    weighted: _Weighted,
    method: str,
    target: Target,
    level: float,
    *,
    value: float,
    residuals: Floats | None = None,
    few: bool = False,
) -> Estimate:
    """Return the estimate with its interval; `residuals` are those that a proxy leaves, if one is used."""
    labels, answers = len(weighted.correct), weighted.answers
    right = int(weighted.correct.sum())
    value = min(max(value, 0.0), 1.0)
    variance_of_one = weighted.share * (1 - weighted.share)
    degrees: float | None = None
    if right in (0, labels):
        # no variance can be estimated; the weights alone say how many labels these are worth
        share_left = max(0.0, 1 - labels / answers) if target == "window" else 1.0
        effective = weighted.size / share_left if share_left else np.inf
    else:
        of_draw = weighted.draw_variance(weighted.correct - weighted.share if residuals is None else residuals)
        if residuals is not None:
            of_draw *= labels / (labels - 2)
        if residuals is not None or not weighted.uniform:
            degrees = max(weighted.size - 1, 1.0)
        variance = of_draw + (variance_of_one / answers if target == "traffic" else 0.0)
        effective = variance_of_one / variance if variance > 0 else np.inf
    low, high = score_interval(value, effective, level=level, degrees=degrees)
    if target == "window":
        # the labelled answers are known
        low, high = max(low, right / answers), min(high, 1 - (labels - right) / answers)
        value = min(max(value, low), high)
    return Estimate(value, low, high, method, labels, answers, target, level, _caveat(sample, few))


def _caveat(sample: LabelledSample, few: bool) -> str | None:
    labels = len(np.asarray(sample.rows))
    if sample.drawn is not None and sample.drawn > labels:
        missing = sample.drawn - labels
        return (
            f"{missing:,} of {sample.drawn:,} drawn answers have no label; it holds if those are no harder to answer."
        )
    if few:
        return f"The proxy is not used: fewer than {MIN_OF_EACH} labelled answers are right, or as few are wrong."
    return None
