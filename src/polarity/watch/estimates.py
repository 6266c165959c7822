"""An estimate of the accuracy in production: the figure, its interval, and how it was obtained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

Floats = npt.NDArray[np.float64]
Target = Literal["traffic", "window"]
"""What an interval is of: the accuracy on the traffic of which the answers of the window are a random sample, or the
share of exactly these answers that is correct."""

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """The estimated accuracy of a served model over a window of answers.

    Parameters
    ----------
    value, low, high : float
        The estimate and the bounds of its interval, between 0 and 1.
    method : str
        How it was obtained, to be shown beside every figure.
    labels : int
        Number of labels of the window that it uses; 0 for a method without labels.
    answers : int
        Number of answers in the window.
    target : {'traffic', 'window'}
        What the interval is of: the traffic that the window is a sample of, or exactly the answers of the window.
    level : float
        Probability with which the interval contains its target if the caveat does not apply.
    caveat : str or None
        When the method fails, in one sentence; None if it holds by the way in which the answers were drawn.
    """

    value: float
    low: float
    high: float
    method: str
    labels: int
    answers: int
    target: Target
    level: float = LEVEL
    caveat: str | None = None

    def in_words(self) -> str:
        """Return the figure with its interval, method and numbers.

        Examples
        --------
        >>> Estimate(0.78, 0.69, 0.85, "labels of a random share", 100, 5000, "traffic").in_words()
        '78.0 % (95 % interval 69.0 to 85.0 %; labels of a random share; 100 labels, 5,000 answers)'
        """
        interval = f"{self.level * 100:g} % interval {self.low * 100:.1f} to {self.high * 100:.1f} %"
        return f"{self.value * 100:.1f} % ({interval}; {self.method}; {self.labels:,} labels, {self.answers:,} answers)"


def score_interval(
    share: float, effective: float, *, level: float = LEVEL, degrees: float | None = None
) -> tuple[float, float]:
    """Return Wilson's score interval of a share that is known as well as from `effective` independent labels.

    See Wilson 1927, JASA 22, 209-212; for an effective number of labels, Korn and Graubard 1998, Survey Methodology 24,
    193-201, and Dean and Pagano 2015, Journal of Survey Statistics and Methodology 3, 484-503.

    Parameters
    ----------
    share : float
        The estimated share, between 0 and 1.
    effective : float
        Number of independent labels with the same variance, share (1 - share) / variance. Infinite: no uncertainty.
    level : float, default 0.95
    degrees : float, optional
        Degrees of freedom of the estimated variance; the quantile is that of Student's t. Default: the variance follows
        from the share, and the quantile is normal.
    """
    if np.isinf(effective):
        return share, share
    quantile = float(ndtri(0.5 + level / 2) if degrees is None else stdtrit(degrees, 0.5 + level / 2))
    weight = quantile**2 / effective
    centre = (share + weight / 2) / (1 + weight)
    half = quantile / (1 + weight) * (share * (1 - share) / effective + weight / (4 * effective)) ** 0.5
    # rounding may push a bound past the share itself if it is 0 or 1
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def check_target(target: str, level: float) -> None:
    """Raise `ValueError` for an unknown target or a level that is no probability."""
    if target not in get_args(Target):
        raise ValueError(f"Got target={target!r}; it must be one of {', '.join(map(repr, get_args(Target)))}.")
    if not 0 < level < 1:
        raise ValueError(f"Got level={level}; it must be between 0 and 1, for example {LEVEL}.")


def probabilities_of(values: npt.ArrayLike, name: str) -> Floats:
    """Return `values` as a float array of shape (n,), all between 0 and 1.

    Raises
    ------
    ValueError
        If there is none, or one of them is no probability; the message quotes the first.
    """
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not len(found):
        raise ValueError(f"Got {name} of shape {found.shape}; it must be (n,) with at least one value.")
    bad = np.flatnonzero(~((found >= 0) & (found <= 1)))
    if len(bad):
        raise ValueError(f"Got {name} {found[bad[0]]} in row {bad[0]}; it must be between 0 and 1.")
    return found
