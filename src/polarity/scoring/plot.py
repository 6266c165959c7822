"""The plot of a scored set: sentiments by day, and of the most frequent hashtags."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from polarity.evaluation.plots import PALETTE, literal, styled, to_png
from polarity.scoring.record import SHOWN_HASHTAGS, ScoringSummary
from polarity.scoring.tally import Counts

PLOT_FILE = "sentiment.png"


def write_plot(summary: ScoringSummary) -> None:
    """Write the plot into the scoring's folder."""
    Path(summary.folder, PLOT_FILE).write_bytes(to_png(draw(summary)))


def draw(summary: ScoringSummary) -> Figure:
    """Plot sentiments by day (or in total without dates), and for the most frequent hashtags."""
    hashtags = dict(list(summary.hashtags.items())[:SHOWN_HASHTAGS][::-1])
    with styled():
        figure = Figure(figsize=(10, 4) if hashtags else (6, 3.6), layout="constrained")
        panels = figure.subplots(1, 2 if hashtags else 1, squeeze=False)[0]
        days = summary.days if len(summary.days) > 1 else {"all": summary.sentiments}
        _stacked(panels[0], days, summary.labels, upright=True)
        panels[0].set(title="Tweets by day" if days is summary.days else "Tweets", ylabel="tweets")
        if len(days) > 10:
            panels[0].set_xticks(np.linspace(0, len(days) - 1, 6).astype(int))
        panels[0].tick_params(axis="x", labelrotation=30 if len(days) > 1 else 0)
        panels[0].legend()
        if hashtags:
            _stacked(panels[1], {f"#{tag}": of for tag, of in hashtags.items()}, summary.labels, upright=False)
            panels[1].set(title="Most frequent hashtags", xlabel="tweets")
    return figure


def _stacked(panel: Axes, counts: Mapping[str, Counts], labels: tuple[str, ...], *, upright: bool) -> None:
    names = [literal(name) for name in counts]
    below = np.zeros(len(counts))
    for place, label in enumerate(labels):
        heights = np.array([of.get(label, 0) for of in counts.values()])
        colour = PALETTE[place % len(PALETTE)]
        if upright:
            panel.bar(names, heights, bottom=below, color=colour, label=literal(label), width=0.85)
        else:
            panel.barh(names, heights, left=below, color=colour, label=literal(label), height=0.72)
        below += heights
    (panel.yaxis if upright else panel.xaxis).set_major_locator(MaxNLocator(integer=True))
    panel.grid(axis="x" if upright else "y", visible=False)
