"""Whether the accuracy has fallen below a reference, looked at after every label, with few false alarms."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from polarity.watch.estimates import Floats, probabilities_of

# How boldly to bet against the reference, as shares of the boldest bet that cannot lose everything: small ones find a
# small drop after many labels, large ones a large drop after few.
_BOLDNESS = np.geomspace(0.02, 0.9, 8)


def evidence_of_a_drop(
    correct: npt.ArrayLike, inclusion: npt.ArrayLike, reference: float, *, floor: float | None = None
) -> Floats:
    """Return the evidence, after each label, that the accuracy has been below `reference` since some earlier label.

    An alarm when it first reaches a number A is a false one on average no more often than once in A labels, however
    often one looks: an e-detector (Shin, Ramdas and Rinaldo 2023, E-detectors, arXiv 2203.03532), the mean of several
    Shiryaev-Roberts sums of bets against the reference (Waudby-Smith and Ramdas 2024, JRSS B 86, 1-27). For one bet b,
    R(n) = (1 + R(n-1)) (1 + b w(n) (reference - correct(n))), in which the weights w of the labels are proportional to
    1 / inclusion, so that answers which are drawn more often count for less.

    Parameters
    ----------
    correct : bool array of shape (n,)
        Whether the answers were correct, in the order in which their labels came.
    inclusion : float array of shape (n,)
        Probability with which each was drawn for labelling.
    reference : float
        Between 0 and 1.
    floor : float, optional
        The lowest inclusion probability there can be. Default: the lowest there is.

    Raises
    ------
    ValueError
        If lengths differ or a probability is not in (0, 1].
    """
    right = np.asarray(correct, dtype=np.float64)
    if not len(right):
        return right
    drawn_with = probabilities_of(inclusion, "inclusion probability")
    if len(drawn_with) != len(right):
        raise ValueError(f"Got {len(right)} labels and {len(drawn_with)} inclusion probabilities; they must match.")
    lowest = float(drawn_with.min()) if floor is None else floor
    if not 0 < lowest <= drawn_with.min():
        raise ValueError(
            f"Got an inclusion probability of {drawn_with.min()}; it must be above 0 and at least {floor}."
        )
    if not 0 < reference < 1:
        raise ValueError(f"Got reference={reference}; it must be between 0 and 1.")
    bets = _BOLDNESS / (1 - reference)
    gains = 1 + bets[:, None] * (lowest / drawn_with) * (reference - right)
    evidence = np.empty(len(right))
    sums = np.zeros(len(bets))
    for number, gain in enumerate(gains.T):
        sums = np.minimum((1 + sums) * gain, 1e300)
        evidence[number] = sums.mean()
    return evidence
