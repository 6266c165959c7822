"""Whether the share of a sentiment in an hour is unusual for that hour of the week."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

HOURS_PER_WEEK = 168
HOURS_PER_YEAR = 8_766


@dataclass(frozen=True)
class Comparison:
    """An hour compared with the same hour of former weeks.

    Parameters
    ----------
    share, usual : float
        Of the hour, and the mean of the former ones.
    low, high : float
        The shares between which the hour is not unusual.
    p_value : float
        Probability of a share at least this far from the usual one, if nothing has changed.
    weeks : int
        Number of former hours.
    """

    share: float
    usual: float
    low: float
    high: float
    p_value: float
    weeks: int

    @property
    def unusual(self) -> bool:
        """Whether the share lies outside the limits."""
        return not self.low <= self.share <= self.high


def compare_hour(
    counts: Mapping[int, tuple[int, int]],
    hour: int,
    *,
    weeks: int = 4,
    minimum: int = 30,
    false_alarms_per_year: float = 4.0,
) -> Comparison | None:
    """Compare the share of an hour with those of the same hour in the weeks before.

    Shares are compared as arcsin(sqrt(share)), whose variance is 1 / (4 n) whatever the share (Anscombe 1948,
    Biometrika 35, 246-254), plus a variance between weeks. That one is estimated from all hours of these weeks, each
    compared with the same hour of the others (by moments, as in DerSimonian and Laird 1986, Controlled Clinical Trials
    7, 177-188): days differ by more than chance, and a limit that does not know by how much alarms every day.

    To be called for every hour when it is over. The level of each comparison is the wanted number of false alarms,
    divided by the number of hours in a year.

    Parameters
    ----------
    counts : mapping
        By hour since 1970: the number of answers with the sentiment, and of all answers.
    hour : int
        The hour to be compared.
    weeks : int
    minimum : int
        Fewest answers of an hour; those with fewer tell too little.
    false_alarms_per_year : float
        How many to expect if nothing ever changes, and the traffic never rests.

    Returns
    -------
    Comparison or None
        None if the hour, or the same hour in at least two of the former weeks, has too few answers.
    """
    former = [counts[past] for past in _same_hours(hour, weeks) if counts.get(past, (0, 0))[1] >= minimum]
    part, whole = counts.get(hour, (0, 0))
    if whole < minimum or len(former) < 2:
        return None
    between, degrees = _variance_between_weeks(counts, hour, weeks, minimum)
    usual = np.array([_angle(*of) for of in former])
    of_former = sum(1 / (4 * of) for _, of in former) / len(former) ** 2
    deviation = math.sqrt(1 / (4 * whole) + between + of_former + between / len(former))
    centre = float(usual.mean())
    level = min(1.0, false_alarms_per_year / HOURS_PER_YEAR)
    reach = float(stdtrit(degrees, 1 - level / 2)) * deviation
    distance = abs(_angle(part, whole) - centre) / deviation
    return Comparison(
        share=_share(_angle(part, whole)),
        usual=_share(centre),
        low=_share(max(0.0, centre - reach)),
        high=_share(min(math.pi / 2, centre + reach)),
        p_value=2 * float(stdtr(degrees, -distance)),
        weeks=len(former),
    )


def _same_hours(hour: int, weeks: int) -> Sequence[int]:
    return range(hour - weeks * HOURS_PER_WEEK, hour, HOURS_PER_WEEK)


def _variance_between_weeks(
    counts: Mapping[int, tuple[int, int]], hour: int, weeks: int, minimum: int
) -> tuple[float, int]:
    """The variance that the angles of the same hour have between weeks, beyond chance, and its degrees of freedom."""
    excess, degrees = 0.0, 0
    for last in range(hour - HOURS_PER_WEEK, hour):
        group = [counts[past] for past in _same_hours(last + HOURS_PER_WEEK, weeks) if past in counts]
        group = [of for of in group if of[1] >= minimum]
        if len(group) < 2:
            continue
        angles = np.array([_angle(*of) for of in group])
        by_chance = sum(1 / (4 * of) for _, of in group) / len(group)
        excess += (len(group) - 1) * (float(angles.var(ddof=1)) - by_chance)
        degrees += len(group) - 1
    return max(0.0, excess / max(degrees, 1)), max(degrees, 1)


def _angle(part: int, whole: int) -> float:
    return math.asin(math.sqrt((part + 3 / 8) / (whole + 3 / 4)))


def _share(angle: float) -> float:
    return math.sin(angle) ** 2
