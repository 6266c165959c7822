"""The plots of one candidate, as files for its folder of the run and for MLflow."""

from __future__ import annotations

from pathlib import Path

import emoji
from matplotlib.figure import Figure

from polarity.evaluation import plots
from polarity.evaluation.predictions import Predictions
from polarity.evaluation.telling import telling_words
from polarity.models.base import History
from polarity.serving.package import ModelManifest


def draw_candidate(folder: Path, packaged: Path, history: History, test: Predictions) -> Path:
    """Draw confusion matrix, ROC, calibration, learning curves and, for the logistic regression, its words.

    Returns
    -------
    Path
        `folder`, with a PNG for each plot.
    """
    manifest = ModelManifest.read(packaged)
    figures: dict[str, Figure] = {
        "confusion_matrix": plots.confusion_matrices({manifest.name: test}),
        "roc": plots.roc_curves({manifest.name: test}),
        "calibration": plots.reliability_diagrams({manifest.name: test}),
    }
    if history.epochs:
        figures["learning_curves"] = plots.learning_curves({manifest.name: history})
    if manifest.family == "logistic":
        # matplotlib's font has no emoji
        spelt = {
            label: [(emoji.demojize(word), weight) for word, weight in words]
            for label, words in telling_words(packaged).items()
        }
        figures["telling_words"] = plots.telling_words(spelt)
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        (folder / f"{name}.png").write_bytes(plots.to_png(figure))
    return folder
