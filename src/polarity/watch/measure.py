"""A measure of production: a figure, of which span, from how much, and how it was obtained."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from polarity.record.history import Span

Unit = Literal["answers", "requests", "share", "seconds", "yes or no", "times the threshold"]


@dataclass(frozen=True)
class Measure:
    """A figure with its span and method.

    Parameters
    ----------
    name : str
        Its name in `alerts.yaml`.
    span : Span
        What it is of.
    value : float or None
        None if it is not defined, for example a share of nothing.
    unit : str
    of : int
        Number of answers, requests or labels that it is from.
    method : str
        What is counted, or how it was obtained; shown beside it.
    low, high : float, optional
        A 95 % interval, if it is an estimate.
    source : str
        The channel of the clients that it is about; empty: all.
    """

    name: str
    span: Span
    value: float | None
    unit: Unit
    of: int
    method: str
    low: float | None = None
    high: float | None = None
    source: str = ""

    def in_words(self) -> str:
        """Return the figure with its span, and its interval if it has one.

        Examples
        --------
        >>> Measure("error_share", Span(0, 300), 0.0625, "share", 160, "requests answered with a 5xx").in_words()
        '6.2 % of 160 (requests answered with a 5xx) within 5 min'
        """
        if self.value is None:
            return f"nothing to tell ({self.method}) within {in_time(self.span.until - self.span.since)}"
        within = f" within {in_time(self.span.until - self.span.since)}"
        match self.unit:
            case "share":
                interval = (
                    ""
                    if self.low is None or self.high is None
                    else f", 95 % interval {self.low * 100:.1f} to {self.high * 100:.1f} %"
                )
                return f"{self.value * 100:.1f} % of {self.of:,} ({self.method}{interval}){within}"
            case "seconds":
                return f"{in_time(self.value)} ({self.method})"
            case "yes or no":
                return f"{'yes' if self.value else 'no'} ({self.method})"
            case "times the threshold":
                return f"{self.value:.2f} times the threshold in {self.of:,} answers ({self.method})"
            case _:
                return f"{self.value:,.0f} {self.method}{within}"


def moment(at: float) -> str:
    """Write a time, given in seconds since 1970."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def in_time(seconds: float) -> str:
    """Write a duration with its natural unit.

    Examples
    --------
    >>> [in_time(seconds) for seconds in (0.012, 2.5, 90, 300, 7_200, 86_400 * 28)]
    ['12 ms', '2.5 s', '90 s', '5 min', '2 h', '28 days']
    """
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size or (seconds >= size and seconds % size == 0):
            return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
