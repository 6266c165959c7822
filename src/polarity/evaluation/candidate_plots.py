"""The plots of one candidate, as PNG files for its run folder and for MLflow."""

from __future__ import annotations

from pathlib import Path

import emoji
from matplotlib.figure import Figure

from polarity.evaluation import plots
from polarity.evaluation.predictions import Predictions
from polarity.families.protocol import History
from polarity.families.registry import family_named
from polarity.inference.package import ModelManifest


def draw_candidate(folder: Path, packaged: Path, history: History, test: Predictions) -> Path:
    """Draw confusion matrix, ROC, calibration, learning curves and, if the family has them, the most telling words.

    Returns
    -------
    Path
        `folder`, which holds a PNG for each plot.
    """
    manifest = ModelManifest.read(packaged)
    figures: dict[str, Figure] = {
        "confusion_matrix": plots.confusion_matrices({manifest.name: test}),
        "roc": plots.roc_curves({manifest.name: test}),
        "calibration": plots.reliability_diagrams({manifest.name: test}),
    }
    if history.epochs:
        figures["learning_curves"] = plots.learning_curves({manifest.name: history})
    words = family_named(manifest.family).telling_words(packaged)
    if words:
        # matplotlib's font has no emoji
        spelled = {
            label: [(emoji.demojize(word), weight) for word, weight in of_label] for label, of_label in words.items()
        }
        figures["telling_words"] = plots.telling_words(spelled)
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        (folder / f"{name}.png").write_bytes(plots.to_png(figure))
    return folder
