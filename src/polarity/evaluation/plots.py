"""The plots for MLflow and the report, in one style.

Each function returns a `matplotlib.figure.Figure` and does not touch
pyplot's global state, so several threads may draw at the same time.
"""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
from sklearn.metrics import roc_curve

from polarity.evaluation.calibration import reliability
from polarity.evaluation.metrics import confusion_counts
from polarity.evaluation.predictions import Predictions
from polarity.families.protocol import History

# Colours that colour-blind readers can distinguish, on light and dark backgrounds.
PALETTE = ("#3d7dd9", "#d9822b", "#2a9d78", "#a06bd6", "#d1527f", "#8a8f2c")
STROKES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2, 1, 2)), (0, (2, 2)))
PARTS = {"loss": "training", "validation_loss": "validation"}
# Placeholders that `to_svg` replaces with the page's own colours.
INK, FAINT = "#1b1e24", "#c9cdd4"
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "svg.fonttype": "none",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}

_STYLE_LOCK = threading.RLock()


def confusion_matrices(predictions: Mapping[str, Predictions]) -> Figure:
    """Draw one confusion matrix per model, with row shares and counts."""
    n_labels = len(next(iter(predictions.values())).label_names)
    middle: dict[str, Any] = {"ha": "center", "va": "center"}
    figure, panels = panels_of(len(predictions), width=1.5 + 0.75 * n_labels, height=1.3 + 0.75 * n_labels)
    with styled():
        for panel, (name, of) in zip(panels, predictions.items(), strict=True):
            counts = confusion_counts(of.labels, of.predicted, n_labels=n_labels)
            shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
            panel.pcolormesh(shares, cmap=_shades(), vmin=0, vmax=1, edgecolors="face", linewidth=0.2)
            for (row, column), count in np.ndenumerate(counts):
                panel.text(column + 0.5, row + 0.42, f"{shares[row, column]:.0%}", **middle, weight="bold")
                panel.text(column + 0.5, row + 0.72, f"{count:,}", **middle, fontsize=8)
            places = np.arange(n_labels) + 0.5
            panel.set_xticks(places, of.label_names)
            panel.set_yticks(places, of.label_names, rotation=90, va="center")
            panel.set(title=literal(name), xlabel="predicted", ylabel="true", aspect="equal", ylim=(n_labels, 0))
            panel.grid(False)
            panel.spines[:].set_visible(False)
    return figure


def roc_curves(predictions: Mapping[str, Predictions]) -> Figure:
    """Draw the ROC curves of all models: of the second class if there are two, else the one-vs-rest average."""
    figure, (panel,) = panels_of(1, width=4.6, height=4.2)
    with styled():
        panel.plot([0, 1], [0, 1], color=FAINT, linewidth=1.2, linestyle=(0, (2, 2)))
        for i, (name, of) in enumerate(predictions.items()):
            if len(np.unique(of.labels)) == len(of.label_names):
                false_rates, true_rates, area = _mean_roc(of.labels, of.probabilities)
                _line(panel, i, false_rates, true_rates, label=literal(f"{name} (area {area:.3f})"))
        panel.set(
            xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1.01), aspect="equal"
        )
        _percent(panel)
        panel.legend(loc="lower right")
    return figure


def reliability_diagrams(predictions: Mapping[str, Predictions]) -> Figure:
    """Draw the accuracy of each model against its confidence; perfect calibration is the diagonal."""
    figure, (panel,) = panels_of(1, width=4.6, height=4.2)
    with styled():
        floor = 1 / max(len(of.label_names) for of in predictions.values())
        panel.plot([0, 1], [0, 1], color=FAINT, linewidth=1.2, linestyle=(0, (2, 2)))
        for i, (name, of) in enumerate(predictions.items()):
            bins = reliability(of.labels, of.probabilities)
            _line(panel, i, [b.confidence for b in bins], [b.accuracy for b in bins], label=literal(name), marker="o")
        panel.set(xlabel="confidence", ylabel="accuracy", xlim=(floor, 1.0), ylim=(0, 1.02))
        _percent(panel)
        panel.legend(loc="lower right")
    return figure


def score_intervals(scores: Mapping[str, tuple[float, tuple[float, float]]], *, xlabel: str) -> Figure:
    """Draw the score of each model with its interval, one row per model.

    Parameters
    ----------
    scores : mapping
        Score and interval bounds by model name, as shares.
    xlabel : str
    """
    figure, (panel,) = panels_of(1, width=5.4, height=0.7 + 0.42 * len(scores))
    with styled():
        for i, (score, (low, high)) in enumerate(scores.values()):
            colour = PALETTE[i % len(PALETTE)]
            panel.plot([low, high], [-i, -i], color=colour, linewidth=6, alpha=0.35, solid_capstyle="round")
            panel.plot([score], [-i], color=colour, marker="o", markersize=8)
            panel.annotate(f"{score:.1%}", (score, -i), (0, 9), textcoords="offset points", ha="center", fontsize=9)
        panel.set_yticks([-i for i in range(len(scores))], [literal(name) for name in scores])
        panel.set(xlabel=xlabel, ylim=(-len(scores) + 0.4, 0.7))
        panel.margins(x=0.08)
        panel.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g}%"))
        panel.grid(axis="y", visible=False)
        panel.spines["left"].set_visible(False)
    return figure


def learning_curves(histories: Mapping[str, History]) -> Figure:
    """Draw training and validation loss over the epochs, one panel per model; other metrics are omitted."""
    figure, panels = panels_of(len(histories), width=3.4, height=2.8)
    with styled():
        for panel, (name, history) in zip(panels, histories.items(), strict=True):
            steps = [epoch.get("epoch", place) for place, epoch in enumerate(history.epochs, 1)]
            for i, loss in enumerate(loss_names(history)):
                values = [epoch.get(loss, np.nan) for epoch in history.epochs]
                _line(
                    panel,
                    i,
                    steps,
                    values,
                    label="training" if loss == "loss" else loss.removesuffix("_loss"),
                    marker="o",
                )
            panel.set(title=literal(name), xlabel="epoch", ylabel="loss")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            if len(steps) == 1:  # otherwise the axis would be too narrow to read
                panel.set_xlim(steps[0] - 1, steps[0] + 1)
            panel.legend(loc="best", fontsize=8.5)
    return figure


def loss_names(history: History) -> list[str]:
    """Return the names of the losses in a learning curve, such as `loss` and `validation_loss`, in order."""
    names = dict.fromkeys(name for epoch in history.epochs for name in epoch)
    return [name for name in names if name.endswith("loss")]


def telling_words(weights: Mapping[str, Sequence[tuple[str, float]]]) -> Figure:
    """Draw the words with the largest weights for each label in a linear model.

    Parameters
    ----------
    weights : mapping
        (word, weight) pairs by label, largest weight first.
    """
    longest = max(len(words) for words in weights.values())
    figure, panels = panels_of(len(weights), width=3.2, height=0.9 + 0.2 * longest)
    with styled():
        for i, (panel, (label, words)) in enumerate(zip(panels, weights.items(), strict=True)):
            places = np.arange(len(words))[::-1]
            panel.barh(places, [weight for _, weight in words], color=PALETTE[i % len(PALETTE)], height=0.72)
            panel.set_yticks(places, [literal(word) for word, _ in words], fontsize=9)
            panel.set(title=literal(f"evidence for {label}"), xlabel="weight")
            panel.grid(axis="y", visible=False)
    return figure


def to_png(figure: Figure) -> bytes:
    """Return the figure as PNG on a white background."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=144, facecolor="white", bbox_inches="tight")
    return buffer.getvalue()


def to_svg(figure: Figure, *, title: str) -> str:
    """Return the figure as an inline SVG element with a label for screen readers, in the page's font and colours."""
    buffer = io.StringIO()
    # A separate salt keeps the ids of clip paths unique when a page contains several figures.
    with styled({"svg.hashsalt": title}), warnings.catch_warnings():
        # Text stays text: the browser draws scripts that the font by which it is measured here lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    used = set(re.findall(r"#([\w-]+)", svg))
    svg = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'font: ([^;"]*?)(\d+(?:\.\d+)?)px [^;"]*', r"font: \1\2px var(--font, sans-serif)", svg)
    svg = svg.replace(INK, "var(--ink, #1b1e24)").replace(FAINT, "var(--line, #c9cdd4)")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{_attribute(title)}" ', 1)


@contextmanager
def styled(more: dict[Any, Any] | None = None) -> Iterator[None]:
    """Apply the style, one thread at a time because matplotlib's parameters are global."""
    with _STYLE_LOCK, mpl.rc_context({**STYLE, **(more or {})}):
        yield


def panels_of(count: int, *, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Create a figure with a row of `count` panels, each of the given size in inches."""
    with styled():
        figure = Figure(figsize=(width * count, height), layout="constrained")
        panels = figure.subplots(1, count, squeeze=False)
    return figure, list(panels[0])


def _line(panel: Axes, place: int, x: Any, y: Any, **options: Any) -> None:
    panel.plot(
        x, y, color=PALETTE[place % len(PALETTE)], linestyle=STROKES[place % len(STROKES)], markersize=4.5, **options
    )


def _percent(panel: Axes) -> None:
    panel.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _shades() -> mpl.colors.Colormap:
    """Return a colour map from transparent to the first colour, so empty cells show the background."""
    red, green, blue = mpl.colors.to_rgb(PALETTE[0])
    return mpl.colors.LinearSegmentedColormap.from_list("shares", [(red, green, blue, 0.04), (red, green, blue, 1.0)])


def _mean_roc(labels: npt.NDArray[Any], probabilities: npt.NDArray[Any]) -> tuple[Any, Any, float]:
    """Return false and true positive rates and the area, averaged over one-vs-rest curves."""
    n_labels = probabilities.shape[1]
    grid = np.linspace(0, 1, 501)
    hits = []
    for column in range(1, n_labels) if n_labels == 2 else range(n_labels):
        false_rates, true_rates, _ = roc_curve(labels == column, probabilities[:, column])
        hits.append(np.interp(grid, false_rates, true_rates))
    mean = np.mean(hits, axis=0)
    return np.r_[0, grid], np.r_[0, mean], float(np.trapz(mean, grid))


def literal(text: str) -> str:
    """Escape text so that matplotlib does not parse it as mathematics."""
    return text.replace("$", r"\$")


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
