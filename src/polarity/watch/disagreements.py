"""Which of two models is better, from labels of the tweets on which they disagree; valid whenever one looks.

Where two models agree, both are right or both are wrong, so only disagreements tell which is better. Each labelled one
is bet on: the wealth of a bettor is a nonnegative martingale if the models are equally good, so that it ever exceeds
1 / level with a probability of at most `level` (Ville). See Waudby-Smith and Ramdas 2024, Estimating means of bounded
random variables by betting, JRSS B 86, 1-27, and for two models on live traffic Lindon, Ham, Tingley and Bojinov 2022,
Rapid regression detection in software deployments through sequential testing, arXiv 2205.14762.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, logsumexp

from polarity.watch.estimates import Floats

Verdict = Literal["challenger", "champion"]

LEVEL = 0.05
# Where two models differ by one to four points and disagree on a tenth of the tweets, the best bets are of this size.
_BETS = (0.1, 0.2, 0.4)


def log_wealth(values: npt.ArrayLike, mean: float = 0.0) -> Floats:
    """Return the logarithm of the wealth after each value, of a bettor that the mean is above `mean`.

    The wealth is the average of bettors that each stake a fixed share, so that no share depends on what comes after it.

    Parameters
    ----------
    values : array of shape (..., n)
        All in [-1, 1].
    mean : float, default 0
        Largest mean under the hypothesis that is bet against; above -1, below 1.

    Returns
    -------
    float array of shape (..., n)

    Raises
    ------
    ValueError
        If a value or the mean is out of bounds.
    """
    given = np.asarray(values, dtype=np.float64)
    if not -1 < mean < 1 or not (np.abs(given) <= 1).all():
        raise ValueError(f"Got mean={mean} and values up to {np.abs(given).max(initial=0)}; 1 bounds both.")
    bets = [np.log1p(bet / (1 + mean) * (given - mean)).cumsum(axis=-1) for bet in _BETS]
    found: Floats = logsumexp(bets, axis=0) - math.log(len(bets))
    return found


@dataclass(frozen=True)
class Disagreement:
    """A tweet that the two models answered differently, with its label.

    Attributes
    ----------
    challenger_right, champion_right : bool
        Both are false if there are more than two labels and each model gave another wrong one.
    inclusion : float
        Probability with which it was chosen for labelling, as recorded when it was answered.
    """

    challenger_right: bool
    champion_right: bool
    inclusion: float = 1.0


@dataclass(frozen=True)
class Comparison:
    """What labelled disagreements say; see `compare`.

    Attributes
    ----------
    labels, challenger_right, champion_right : int
    better, worse : float
        The wealth of the bettors on the challenger and on the champion.
    needed : float
        The wealth that decides.
    verdict : {'challenger', 'champion'} or None
        Which is better; the first verdict stands.
    """

    labels: int
    challenger_right: int
    champion_right: int
    better: float
    worse: float
    needed: float
    verdict: Verdict | None

    def in_words(self) -> str:
        """Return the evidence on one line.

        Examples
        --------
        >>> compare([Disagreement(True, False)]).in_words()
        'open after 1 labelled disagreement: challenger right in 1, champion in 0; evidence 1.2 to 0.77 (40 decides)'
        """
        said = f"the {self.verdict} is better" if self.verdict else "open"
        plural = "" if self.labels == 1 else "s"
        return (
            f"{said} after {self.labels:,} labelled disagreement{plural}: challenger right in "
            f"{self.challenger_right:,}, champion in {self.champion_right:,}; evidence {self.better:.2g} to "
            f"{self.worse:.2g} ({self.needed:g} decides)"
        )


def compare(found: Sequence[Disagreement], *, level: float = LEVEL, least_inclusion: float = 1.0) -> Comparison:
    """Compare two models by the tweets on which they disagree.

    Each disagreement is weighted by `least_inclusion` / its inclusion probability, so that what is more likely to be
    labelled counts less, and the sign of the mean is that of the difference in accuracy.

    Parameters
    ----------
    found : sequence of Disagreement
        In the order in which their labels came.
    level : float, default 0.05
        Probability of any verdict if the models are equally good, however often one looks.
    least_inclusion : float, default 1
        Lower bound of the inclusion probabilities, fixed in advance.

    Raises
    ------
    ValueError
        If an inclusion probability is below `least_inclusion` or above 1.
    """
    values = weighted(found, least_inclusion)
    better, worse = log_wealth(values), log_wealth(-values)
    # each direction has half of the level
    needed = 2 / level
    first = {
        name: int((path >= math.log(needed)).argmax())
        for name, path in (("challenger", better), ("champion", worse))
        if (path >= math.log(needed)).any()
    }
    verdict = cast(Verdict, min(first, key=first.__getitem__)) if first else None
    return Comparison(
        len(found),
        sum(one.challenger_right for one in found),
        sum(one.champion_right for one in found),
        math.exp(better[-1]) if len(found) else 1.0,
        math.exp(worse[-1]) if len(found) else 1.0,
        needed,
        verdict,
    )


def not_worse(
    found: Sequence[Disagreement],
    *,
    margin: float,
    pairs: int,
    disagreeing: int,
    level: float = LEVEL,
    least_inclusion: float = 1.0,
) -> bool:
    """Whether the challenger's accuracy is not lower than the champion's by more than `margin`.

    Among disagreements, a difference of `margin` is one of margin / (share of disagreements). An upper bound of that
    share takes a fifth of the level, the bets the rest. The bound holds for one number of pairs that is fixed in
    advance; the labels may be looked at whenever one likes.

    Parameters
    ----------
    found : sequence of Disagreement
        In the order in which their labels came.
    margin : float
        Between 0 and 1.
    pairs, disagreeing : int
        Number of tweets that both models answered, and of those that they answered differently.
    level, least_inclusion : float
        As for `compare`.
    """
    share = 1.0 if disagreeing >= pairs else float(betaincinv(disagreeing + 1, pairs - disagreeing, 1 - level / 5))
    if margin >= share:
        return True
    # The weights shrink the mean, to no less than least_inclusion of it: so the hypothesis reaches up to this.
    wealth = log_wealth(weighted(found, least_inclusion), -margin / share * least_inclusion)
    return bool((wealth >= math.log(1 / (0.8 * level))).any())


def weighted(found: Sequence[Disagreement], least_inclusion: float) -> Floats:
    """The weighted differences in correctness, of shape (n,): positive where the challenger is right.

    Raises
    ------
    ValueError
        If an inclusion probability is below `least_inclusion` or above 1.
    """
    for one in found:
        if not 0 < least_inclusion <= one.inclusion <= 1:
            raise ValueError(
                f"Got an inclusion probability of {one.inclusion}; it must be from {least_inclusion} (the least) to 1."
            )
    return np.array([(one.challenger_right - one.champion_right) * least_inclusion / one.inclusion for one in found])
