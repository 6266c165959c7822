"""Figures draw any valid input and can be embedded safely in a page."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from polarity.evaluation import plots
from polarity.evaluation.predictions import Predictions
from polarity.families.protocol import History

NAMES = ("negative", "neutral", "positive")


def drawn(n_labels: int, seed: int = 0, rows: int = 200) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = rng.integers(n_labels, size=rows)
    scores = rng.dirichlet(np.ones(n_labels), rows) + np.eye(n_labels)[labels]
    return Predictions(labels, (scores / 2).astype(np.float32), NAMES[:n_labels], pd.DataFrame(index=range(rows)))


def every_figure() -> dict[str, Figure]:
    models = {"logistic": drawn(2), "bilstm $word2vec$": drawn(2, 1)}
    histories = {
        "a": History(({"loss": 1.0, "validation_loss": 1.1}, {"loss": 0.5, "validation_loss": 0.9, "f1": 0.1}))
    }
    return {
        "confusion": plots.confusion_matrices(models),
        "confusion of three": plots.confusion_matrices({"a": drawn(3)}),
        "roc": plots.roc_curves(models),
        "roc of three": plots.roc_curves({"a": drawn(3)}),
        "reliability": plots.reliability_diagrams(models),
        "learning": plots.learning_curves(histories),
        "words": plots.telling_words({"negative": [("sad <b>", 2.0), ("$x$", 1.0)], "positive": [("&amp", 1.0)]}),
        "intervals": plots.score_intervals({"a": (0.8, (0.78, 0.82)), "b": (0.7, (0.6, 0.75))}, xlabel="right"),
    }


@pytest.mark.parametrize("name", every_figure())
def test_each_figure_renders_as_png_and_as_inline_svg(name: str) -> None:
    figure = every_figure()[name]
    assert plots.to_png(figure).startswith(b"\x89PNG")
    svg = plots.to_svg(figure, title='words & "signs"')
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == 'words & "signs"'
    assert plots.INK not in svg.replace(f"var(--ink, {plots.INK})", ""), "ink takes the colour of the page"
    outside = re.findall(r'(?:href|src)="(?!#)[^"]*"|url\((?!#)', svg)
    assert outside == []


def test_labels_in_a_figure_are_text() -> None:
    svg = plots.to_svg(every_figure()["words"], title="words")
    texts = [element.text for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert {"sad <b>", "$x$", "&amp", "evidence for negative"} <= set(texts)


def test_the_same_data_gives_the_same_drawing() -> None:
    first, second = (plots.to_svg(plots.roc_curves({"a": drawn(2)}), title="roc") for _ in range(2))
    assert first == second


def test_two_figures_in_a_page_do_not_share_ids() -> None:
    one, other = (plots.to_svg(plots.roc_curves({"a": drawn(2, seed)}), title=str(seed)) for seed in (1, 2))
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (one, other)]
    assert not ids[0] & ids[1]


def test_a_model_with_a_missing_class_is_omitted_from_the_roc() -> None:
    whole, lacking = drawn(2), drawn(2, 1)
    lacking = Predictions(np.zeros(200, int), lacking.probabilities, lacking.label_names, lacking.columns)
    (panel,) = plots.roc_curves({"whole": whole, "lacking": lacking}).axes
    legend = [text.get_text() for text in panel.get_legend().get_texts()]
    assert len(legend) == 1
    assert legend[0].startswith("whole")


def test_the_area_in_the_legend_is_the_measured_one() -> None:
    predictions = drawn(3)
    (panel,) = plots.roc_curves({"a": predictions}).axes
    shown = float(re.search(r"area ([\d.]+)", panel.get_legend().get_texts()[0].get_text())[1])
    assert shown == pytest.approx(predictions.measure(seed=0).auc, abs=2e-3)


def test_learning_curves_use_the_epoch_number() -> None:
    history = History(({"epoch": 5, "loss": 1.0}, {"epoch": 10, "loss": 0.5}))
    (panel,) = plots.learning_curves({"a": history}).axes
    assert panel.lines[0].get_xdata().tolist() == [5, 10]


def test_threads_can_draw_in_parallel_without_changing_global_parameters() -> None:
    before = dict(mpl.rcParams)
    alone = plots.to_svg(plots.confusion_matrices({"a": drawn(2)}), title="t")
    with ThreadPoolExecutor(4) as pool:
        together = list(
            pool.map(lambda _: plots.to_svg(plots.confusion_matrices({"a": drawn(2)}), title="t"), range(8))
        )
    assert set(together) == {alone}
    assert dict(mpl.rcParams) == before
