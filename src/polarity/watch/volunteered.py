"""Feedback that users gave of their own accord, kept apart from any accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CAVEAT = "Users choose what they report, mostly mistakes, so this share says nothing about the accuracy."


@dataclass(frozen=True)
class VolunteeredAgreement:
    """How many volunteered labels agree with the answer they are for.

    It has no interval, because what users report is no random sample of the answers, and no relation to `Estimate`, so
    that it cannot be taken for one.

    Parameters
    ----------
    reports : int
        Number of answers for which users gave a label.
    agreeing : int
        Number of those where the label is the one that was answered.
    answers : int
        Number of answers in the window.
    caveat : str
    """

    reports: int
    agreeing: int
    answers: int
    caveat: str = CAVEAT

    @property
    def share_agreeing(self) -> float | None:
        """Share of the reports that agree with the answer; None without reports."""
        return self.agreeing / self.reports if self.reports else None


def volunteered_agreement(agrees: npt.ArrayLike, *, answers: int) -> VolunteeredAgreement:
    """Summarise volunteered feedback.

    Parameters
    ----------
    agrees : bool array of shape (n_reports,)
        Whether each volunteered label is the one that was answered.
    answers : int
        Number of answers in the window.

    Raises
    ------
    ValueError
        If there are more reports than answers.
    """
    found = np.asarray(agrees, dtype=bool)
    if len(found) > answers:
        raise ValueError(f"Got {len(found)} reports for {answers} answers; an answer has at most one label.")
    return VolunteeredAgreement(len(found), int(found.sum()), answers)
