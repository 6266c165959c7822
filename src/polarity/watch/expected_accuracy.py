"""Accuracy expected from the model's own confidence, without any label of the window.

What a confidence is worth is learned on reference tweets, whose labels are known and which the model was not fitted on.
On traffic of the same kind, the mean of what the confidences are worth is the accuracy. If the traffic has other
tweets, the reference can be reweighted to resemble it. If the same words now mean something else (concept drift), no
method without labels can notice it, and neither of these does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from polarity.watch.estimates import LEVEL, Estimate, Floats, Target, check_target, probabilities_of, score_interval

CONFIDENCE = "confidence, no labels (CBPE)"
REWEIGHTED = "confidence, reference reweighted, no labels (PAPE)"
_BLIND = "It has no labels, so it does not notice if the same words have come to mean something else (concept drift)"
_SAME_TRAFFIC = "and it assumes tweets like those of the reference"

# Confidences of exactly 0 or 1 have no logit.
_CLIP = 1e-6
# Weight of the identity ("a confidence of 0.8 is right in 80 % of the cases"), in reference tweets: it only matters if
# the reference has no errors or no correct answers.
_PRIOR = 0.1
_MAX_STEPS, _TOLERANCE = 100, 1e-10


@dataclass(frozen=True)
class ConfidenceCalibration:
    """How likely an answer is to be correct, as a logistic function of the logit of its confidence (Platt 1999).

    Parameters
    ----------
    coefficients : float array of shape (2,)
        Intercept and slope; 0 and 1 take the confidence as it is.
    covariance : float array of shape (2, 2)
        Their covariance from the draw of the reference tweets, also if those are weighted (sandwich estimate; White
        1982, Econometrica 50, 1-25).
    rows : int
        Number of reference tweets.
    effective_rows : float
        Number of equally weighted reference tweets that are worth as much (Kish 1965).
    reweighted : bool, default False
        Whether the reference tweets had weights.
    """

    coefficients: Floats
    covariance: Floats
    rows: int
    effective_rows: float
    reweighted: bool = False

    @classmethod
    def fit(
        cls, confidence: npt.ArrayLike, correct: npt.ArrayLike, *, weights: npt.ArrayLike | None = None
    ) -> ConfidenceCalibration:
        """Fit on reference tweets.

        Parameters
        ----------
        confidence : float array of shape (n_reference,)
            The served model's probability of the label that it answers.
        correct : bool array of shape (n_reference,)
        weights : float array of shape (n_reference,), optional
            Density ratios of the traffic to the reference (`polarity.watch.density_ratio`). Default: all equal.

        Raises
        ------
        ValueError
            If lengths differ, a confidence is no probability, or a weight is negative or not finite.
        """
        features = _logit_features(probabilities_of(confidence, "reference confidence"))
        right = np.asarray(correct, dtype=np.float64)
        weight = np.ones(len(features)) if weights is None else np.asarray(weights, dtype=np.float64)
        if not len(features) == len(right) == len(weight):
            lengths = f"{len(features)} confidences, {len(right)} labels and {len(weight)} weights"
            raise ValueError(f"Got {lengths} of the reference; the numbers must be equal.")
        bad = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
        if len(bad):
            raise ValueError(f"Got weight {weight[bad[0]]} in row {bad[0]}; it must be finite and not below 0.")
        if not weight.any():
            raise ValueError(f"Got {len(weight)} weights that are all 0; at least one reference tweet must count.")
        weight = weight / weight.mean()
        coefficients = identity = np.array([0.0, 1.0])
        for _ in range(_MAX_STEPS):
            fitted = _sigmoid(features @ coefficients)
            slope = features.T @ (weight * (right - fitted)) - _PRIOR * (coefficients - identity)
            curvature = (features.T * (weight * fitted * (1 - fitted))) @ features + _PRIOR * np.eye(2)
            step = np.linalg.solve(curvature, slope)
            # far from the solution a full Newton step may overshoot
            coefficients = coefficients + step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-300))
            if float(np.abs(step).max()) < _TOLERANCE:
                break
        fitted = _sigmoid(features @ coefficients)
        inverse = np.linalg.inv((features.T * (weight * fitted * (1 - fitted))) @ features + _PRIOR * np.eye(2))
        scatter = (features.T * (weight * (right - fitted)) ** 2) @ features
        effective = float(weight.sum() ** 2 / (weight**2).sum())
        return cls(coefficients, inverse @ scatter @ inverse, len(features), effective, weights is not None)

    def __call__(self, confidence: npt.ArrayLike) -> Floats:
        """Return the probability that answers with these confidences are correct, of the same shape (n,)."""
        return _sigmoid(_logit_features(probabilities_of(confidence, "confidence")) @ self.coefficients)


def expected_accuracy(
    calibration: ConfidenceCalibration,
    confidence: npt.ArrayLike,
    *,
    target: Target = "traffic",
    level: float = LEVEL,
) -> Estimate:
    """Estimate the accuracy as the mean calibrated confidence of a window.

    CBPE (confidence-based performance estimation; as in NannyML, and Guillory et al. 2021, arXiv 2107.03315, as
    "average confidence"). The interval has the uncertainty of the calibration, by the delta method, and that of the
    answers: for the traffic which tweets happened to come, for the window whether each is correct, given its
    confidence. It does not have the error that a change of the traffic makes.

    Parameters
    ----------
    calibration : ConfidenceCalibration
        Fitted on the reference, unweighted (CBPE) or with density ratios (PAPE; Bialek et al. 2024, arXiv 2401.08348).
    confidence : float array of shape (n_answers,)
        The served model's probability of each answered label.
    target : {'traffic', 'window'}, default 'traffic'
    level : float, default 0.95
    """
    check_target(target, level)
    values = probabilities_of(confidence, "confidence")
    features = _logit_features(values)
    likely = _sigmoid(features @ calibration.coefficients)
    value = float(likely.mean())
    gradient = (features * (likely * (1 - likely))[:, None]).mean(axis=0)
    of_calibration = float(gradient @ calibration.covariance @ gradient)
    of_answers = float(likely.var()) if target == "traffic" else float((likely * (1 - likely)).mean())
    variance = of_calibration + of_answers / len(values)
    low, high = score_interval(value, value * (1 - value) / variance, level=level)
    return Estimate(
        value,
        low,
        high,
        REWEIGHTED if calibration.reweighted else CONFIDENCE,
        0,
        len(values),
        target,
        level,
        _caveat(calibration) if calibration.reweighted else f"{_BLIND}, {_SAME_TRAFFIC}.",
    )


def _caveat(calibration: ConfidenceCalibration) -> str:
    worth = f"{calibration.effective_rows:,.0f} of {calibration.rows:,} reference tweets"
    return f"{_BLIND}, and the traffic is as different as if only {worth} were like it."


def _logit_features(confidence: Floats) -> Floats:
    """Columns of ones and of logits, shape (n, 2)."""
    inside = np.clip(confidence, _CLIP, 1 - _CLIP)
    return np.column_stack([np.ones(len(inside)), np.log(inside / (1 - inside))])


def _sigmoid(logits: npt.NDArray[Any]) -> Floats:
    from scipy.special import expit

    found: Floats = expit(logits)
    return found
