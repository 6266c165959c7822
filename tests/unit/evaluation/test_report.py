"""The report is self-contained, lists what it lacks, and escapes tweets."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

from polarity.errors import ArtifactError
from polarity.evaluation.comparison import Difference, PairedComparison
from polarity.evaluation.evidence import Evidence, ReportData
from polarity.evaluation.report import FILTERS, write_report

from .run_folder import make_run

THREE = ("negative", "neutral", "positive")


class Page(HTMLParser):
    """Collects the resources that a page loads, its headings and its unbalanced tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.text: list[str] = []
        self.scripts = 0
        self.depth: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.loads += [v for k, v in attrs if k in ("src", "href", "xlink:href") and v and not v.startswith("#")]
        if tag in ("section", "table", "tbody", "figure", "details", "main", "ul", "ol", "dl"):
            self.depth.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.depth and tag in ("section", "table", "tbody", "figure", "details", "main", "ul", "ol", "dl"):
            assert self.depth.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Run folders, each created once."""

    @cache
    def make(labels: tuple[str, ...], bare: bool) -> Path:
        folder = tmp_path_factory.mktemp("run")
        make_run(folder, labels, bare=bare)
        return folder

    return make


@pytest.fixture
def run(made: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """A modifiable run folder with the evidence of two word lists, or with only a summary."""

    def copy(labels: tuple[str, ...] = ("negative", "positive"), *, bare: bool = False) -> Path:
        return Path(shutil.copytree(made(labels, bare), tmp_path / "run"))

    return copy


@pytest.mark.parametrize("labels", [("negative", "positive"), THREE, ("spam", "ham")])
def test_the_page_is_self_contained(run: Callable[..., Path], labels: tuple[str, ...]) -> None:
    page = Page(write_report(run(labels)).read_text())
    assert page.loads == []
    assert page.scripts == 0
    assert page.depth == []


def test_tweets_are_escaped(run: Callable[..., Path]) -> None:
    html = write_report(run()).read_text()
    assert "<script" not in html
    assert "<img" not in html
    assert "alert(&#39;great&#39;)" in html


def test_every_section_is_present(run: Callable[..., Path]) -> None:
    html = write_report(run()).read_text()
    parts = " ".join(re.findall(r'<section id="(\w+)">', html))
    assert parts == ("comparison why pairs cost learning trust confusion slices behaviour bias mistakes words glossary")
    assert "Not in this report" not in html
    targets = set(re.findall(r'href="#([\w-]+)"', html.split("</nav>")[0]))
    assert targets <= set(re.findall(r'<section id="([\w-]+)"', html))


def test_the_figures_match_the_summary(run: Callable[..., Path]) -> None:
    folder = run()
    summary = ReportData.read(folder).summary
    text = " ".join(Page(write_report(folder).read_text()).text)
    for model in summary.models:
        assert f"{model.test['accuracy'] * 100:.1f}" in text
        low, high = model.test["macro_f1_interval"]
        assert f"{low * 100:.1f}–{high * 100:.1f}" in text
    assert summary.verdict.reason in text.replace("\n", " ")
    assert "81.0" in text, "the mean over the seeds"


def test_sections_without_data_are_listed_with_the_reason(run: Callable[..., Path]) -> None:
    html = write_report(run(bare=True)).read_text()
    assert '<section id="behaviour">' not in html
    assert '<section id="pairs">' not in html
    missing = html[html.index("Not in this report") :]
    for part in ("paired comparisons", "learning curves", "bias check", "spread over seeds", "most telling words"):
        assert part in missing


def test_a_failed_behaviour_test_shows_its_sentences_and_excludes_the_candidate(run: Callable[..., Path]) -> None:
    folder = run()
    html = write_report(folder).read_text()
    assert "this song is not great" in html
    assert "✗" in html
    verdict = ReportData.read(folder).verdict
    assert verdict is not None
    assert verdict.selected == "listing"


def test_the_report_explains_why_no_candidate_was_selected(run: Callable[..., Path]) -> None:
    folder = run()
    data = ReportData.read(folder)
    nobody = data.summary.verdict.model_copy(
        update={"selected": None, "promoted": False, "reason": "None is small enough."}
    )
    data.summary.model_copy(update={"verdict": nobody, "bento": None}).write(folder)
    html = write_report(folder).read_text()
    assert "No candidate can be selected" in html
    assert "None is small enough." in html


def test_evidence_round_trips(run: Callable[..., Path], tmp_path: Path) -> None:
    data = ReportData.read(run())
    first = data.evidence["listing"]
    first.write(tmp_path / "again")
    again = Evidence.read(tmp_path / "again", ("negative", "positive"))
    assert (again.history, again.behaviour, again.bias, again.mistakes) == (
        first.history,
        first.behaviour,
        first.bias,
        first.mistakes,
    )
    assert again.words == first.words


def test_a_folder_without_a_summary_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"summary\.json"):
        write_report(tmp_path)


def test_a_broken_file_is_named(run: Callable[..., Path]) -> None:
    folder = run()
    (folder / "listing" / "behaviour.json").write_text('{"results": [{"name": 1}]}')
    with pytest.raises(ArtifactError, match=r"behaviour\.json"):
        write_report(folder)


def test_the_report_explains_intervals_and_significance_correctly(run: Callable[..., Path]) -> None:
    text = " ".join(" ".join(Page(write_report(run()).read_text()).text).split())
    assert "about 95 of 100 such bars would contain" in text
    assert "overlap" not in text, "overlapping intervals say little about paired models"
    assert "Holm" not in text, "there is only one pair"
    assert "called significant only if the interval does not contain zero and the p-value of macro-F1 is below" in text


def test_many_pairs_are_said_to_be_corrected(run: Callable[..., Path]) -> None:
    folder = run()
    data = ReportData.read(folder)
    third = data.summary.models[1].model_copy(update={"name": "third"})
    shutil.copytree(folder / "deaf", folder / "third")
    data.summary.model_copy(update={"models": (*data.summary.models, third)}).write(folder)
    text = " ".join(" ".join(Page(write_report(folder).read_text()).text).split())
    assert "the p-values are corrected for the 3 pairs (Holm’s method)" in text
    assert "the corrected p-value of macro-F1 is below 0.05" in text


def test_only_corrected_differences_are_called_significant() -> None:
    clear, weak, none = (Difference(0.02, (low, 0.04), 0.01) for low in (0.01, 0.001, -0.01))

    def words(difference: Difference, adjusted: float) -> str:
        pair = PairedComparison("a", "b", 500, difference, difference, 20, 10, 0.04, adjusted, adjusted)
        return str(FILTERS["in_words"](pair))

    assert words(clear, 0.001) == "a has a significantly higher macro-F1 than b."
    assert words(weak, 0.2) == "Not significant after the correction for the number of pairs."
    assert words(none, 0.001) == "The difference may be due to chance."


def test_the_train_column_and_the_latency_say_what_they_are(run: Callable[..., Path]) -> None:
    folder = run()
    verdict = json.loads((folder / "verdict.json").read_text())
    for standing in verdict["standings"]:
        standing["latency_machine"] = "Some CPU, 2 cores, 2 threads"
    (folder / "verdict.json").write_text(json.dumps(verdict))
    text = " ".join(" ".join(Page(write_report(folder).read_text()).text).split())
    assert "“train”: tweets that the model was trained on, or a random sample of at most 120 of them" in text
    assert text.count("on Some CPU, 2 cores, 2 threads.") == 1


def test_a_run_of_before_machines_were_recorded_has_a_report(run: Callable[..., Path]) -> None:
    folder = run()
    verdict = json.loads((folder / "verdict.json").read_text())
    for standing in verdict["standings"]:
        del standing["latency_machine"]
    (folder / "verdict.json").write_text(json.dumps(verdict))
    assert "The latency was measured" not in write_report(folder).read_text()
