"""The report of a training run: one self-contained page for non-technical readers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from polarity.config.page_policy import META_TAG
from polarity.evaluation import plots
from polarity.evaluation.comparison import PairedComparison, compare_all
from polarity.evaluation.evidence import ReportData
from polarity.evaluation.mistakes import Mistake
from polarity.evaluation.predictions import Predictions
from polarity.text.segmentation import word_spans

TEMPLATE = "report.html.j2"
REPORT_FILE = "report.html"
SEED = 0
FEW_ROWS = 100
SLICE_NAMES = {
    "length": "Length",
    "mention": "Has a mention",
    "hashtag": "Has a hashtag",
    "link": "Has a link",
    "emoji": "Has an emoji or emoticon",
    "negation": "Has a negation",
    "elongation": "Has an elongation (sooo)",
    "question": "Asks a question",
    "all_capitals": "Has a word in all capitals",
    "week": "Week",
    "month": "Month",
}


@dataclass(frozen=True)
class SliceRow:
    """One value of a slice: the number of tweets, and each model's METRICS (`None` if not measured)."""

    value: str
    rows: int
    scores: tuple[dict[str, Any] | None, ...]

    @property
    def few(self) -> bool:
        """Whether there are too few tweets for a reliable figure."""
        return self.rows < FEW_ROWS


def write_report(run_folder: Path) -> Path:
    """Write `report.html` into a run folder, from the files in it (see `polarity.evaluation.evidence`).

    Raises
    ------
    ArtifactError
        If the summary is missing, or a file cannot be read.
    """
    path = run_folder / REPORT_FILE
    path.write_text(render_report(ReportData.read(run_folder)), encoding="utf-8")
    return path


def render_report(data: ReportData) -> str:
    """Render the page as self-contained HTML; sections without data are listed at the end with the reason."""
    figures = _figures(data)
    return (
        _environment()
        .get_template(TEMPLATE)
        .render(
            policy=Markup(META_TAG),
            summary=data.summary,
            selected=data.selected,
            verdict=data.verdict,
            figures=figures,
            comparisons=_comparisons(data.available("test")),
            slices=_slices(data),
            behaviour=data.available("behaviour"),
            bias=data.available("bias"),
            mistakes=_of_selected(data, "mistakes"),
            seeds={name: _spread([run["accuracy"] for run in runs]) for name, runs in data.seeds.items() if runs},
            missing=_missing(data, figures),
        )
    )


def _figures(data: ReportData) -> dict[str, Any]:
    """Draw the figures by section of the page; `None` or empty if a section has no data."""
    tests = data.available("test")
    histories = {name: history for name, history in data.available("history").items() if plots.loss_names(history)}
    scores = {m.name: (m.test["accuracy"], tuple(m.test["accuracy_interval"])) for m in data.summary.models}

    def one(draw: Callable[[Any], Figure], of: Any, title: str) -> Markup:
        # safe: matplotlib escapes its labels
        return Markup(plots.to_svg(draw(of), title=title))

    def each(draw: Callable[[Any], Figure], of: Mapping[str, Any], title: str) -> dict[str, Markup]:
        return {name: one(draw, {name: value}, f"{title} of {name}") for name, value in of.items()}

    return {
        "intervals": one(partial(plots.score_intervals, xlabel=""), scores, "Accuracy of each model"),
        "roc": one(plots.roc_curves, tests, "ROC curves of all models") if tests else None,
        "reliability": one(plots.reliability_diagrams, tests, "Reliability of all models") if tests else None,
        "confusion": each(plots.confusion_matrices, tests, "Confusion matrix"),
        "learning": each(plots.learning_curves, histories, "Learning curve"),
        "words": {
            name: one(plots.telling_words, words, f"Most telling words of {name}")
            for name, words in data.available("words").items()
        },
    }


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("polarity.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    return environment


def _comparisons(tests: Mapping[str, Predictions]) -> tuple[PairedComparison, ...]:
    if len(tests) < 2:
        return ()
    first = next(iter(tests.values()))
    answers = {name: of.predicted for name, of in tests.items()}
    return compare_all(first.labels, answers, n_labels=len(first.label_names), seed=SEED, groups=first.groups)


def _in_words(comparison: PairedComparison) -> str:
    """Explain a comparison to a reader without a statistics background."""
    if comparison.macro_f1.inconclusive:
        return "The difference may be due to chance."
    if not comparison.significant:
        return "Not significant after the correction for the number of pairs."
    better, worse = comparison.first, comparison.second
    if comparison.macro_f1.value < 0:
        better, worse = worse, better
    return f"{better} has a significantly higher macro-F1 than {worse}."


def _slices(data: ReportData) -> dict[str, list[SliceRow]]:
    """Return test METRICS by slice, with a row for each value and a score for each model."""
    by_model = [model.test_slices for model in data.summary.models]
    table: dict[str, list[SliceRow]] = {}
    for name in dict.fromkeys(name for of in by_model for name in of):
        values = dict.fromkeys(value for of in by_model for value in of.get(name, {}))
        rows = []
        for value in values:
            scores = tuple(of.get(name, {}).get(value) for of in by_model)
            rows.append(SliceRow(value, next(score["rows"] for score in scores if score), scores))
        table[SLICE_NAMES.get(name, name)] = rows
    return table


def _of_selected(data: ReportData, part: str) -> tuple[str, Any] | None:
    """Return the name and evidence of the selected candidate, else of the first one that has it."""
    found = data.available(part)
    names = sorted(found, key=lambda name: name != data.summary.verdict.selected)
    return (names[0], found[names[0]]) if names else None


def _spread(scores: Sequence[float]) -> dict[str, float]:
    return {
        "runs": len(scores),
        "mean": float(np.mean(scores)),
        "deviation": float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0,
        "low": min(scores),
        "high": max(scores),
    }


def _missing(data: ReportData, figures: Mapping[str, Any]) -> dict[str, str]:
    """Return the omitted sections, each with the reason."""
    parts = {
        "paired comparisons": (len(data.available("test")) >= 2, "they need the test predictions of two candidates"),
        "ROC curves, calibration, confusion matrices": (figures["roc"], "no test predictions were kept"),
        "learning curves": (figures["learning"], "no candidate recorded one"),
        "results by slice": (any(m.test_slices for m in data.summary.models), "no slices were measured"),
        "behaviour tests": (data.available("behaviour"), "they were not run"),
        "bias check": (data.available("bias"), "it was not run"),
        "errors and suspected labels": (data.available("mistakes"), "they were not computed"),
        "most telling words": (figures["words"], "no candidate has them"),
        "spread over seeds": (data.seeds, "each model was trained with only one seed"),
    }
    return {name: why for name, (there, why) in parts.items() if not there}


def _marked(mistake: Mistake) -> Markup:
    """Mark the words that drove the answer, with an intensity proportional to their share."""
    strongest = max((word.share for word in mistake.words), default=1.0)
    shares = {word.word: word.share / strongest for word in mistake.words}
    marked, end = Markup(), 0
    for start, stop in word_spans(mistake.text):
        word = mistake.text[start:stop]
        marked += mistake.text[end:start]
        if word in shares:
            marked += Markup('<mark style="--share: {:.2f}">{}</mark>').format(shares[word], word)
        else:
            marked += word
        end = stop
    return marked


def _seconds(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


FILTERS: dict[str, Callable[..., Any]] = {
    "percent": lambda share: f"{share * 100:.1f}\u202f%",
    "span": lambda interval: f"{interval[0] * 100:.1f}\u2013{interval[1] * 100:.1f}",
    "half_width": lambda interval: f"{(interval[1] - interval[0]) * 50:.1f}",
    "points": lambda share: f"{share * 100:+.1f}".replace("-", "\u2212"),
    "count": lambda number: f"{number:,.0f}",
    "decimals": lambda number, places=3: "\u2013" if number is None else f"{number:.{places}f}",
    "seconds": _seconds,
    "in_words": _in_words,
    "chance": lambda p: "< 0.001" if p < 0.001 else f"{p:.3f}",
    "marked": _marked,
}
