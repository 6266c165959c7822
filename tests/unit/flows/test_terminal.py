from __future__ import annotations

import io
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
from rich.console import Console

from flows import terminal
from flows.evaluate import show_evaluation
from flows.score import show_scores
from flows.terminal import print_table, run_from_shell, show_plan, show_summary
from flows.train import train
from flows.tune import Tuning, show_tuning
from polarity.config.settings import settings
from polarity.evaluation.summary import DataSummary, RunSummary, VerdictSummary
from polarity.pipeline.config import TrainConfig
from polarity.pipeline.plan import PlannedStep
from polarity.scoring.record import ScoringSummary

NAME = "no[such]/[/]fi%le[red]:smile:.csv"
"""Rich would drop the brackets, or fail at the closing tag, and replace the last word by an emoji."""


@pytest.fixture
def console() -> Console:
    """A console with rich's defaults."""
    return Console(file=io.StringIO(), width=300)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_tables_print_titles_and_cells_as_they_are(console: Console) -> None:
    print_table(console, f"title {NAME}", [{f"column {NAME}": f"cell {NAME}", "%": "5 %"}])
    for part in (f"title {NAME}", f"column {NAME}", f"cell {NAME}", "5 %"):
        assert part in printed(console)


def test_scores_name_the_folder_as_it_is(console: Console) -> None:
    summary = ScoringSummary(
        source=NAME, model="m", labels=("a",), folder=f"/{NAME}", rows=1, scored=1, sentiments={"a": 1},
        unscored={NAME: 1}, days={}, hashtags={},
    )  # fmt: skip
    show_scores(console, summary)
    assert f"are in /{NAME}\n" in printed(console)
    assert f"not scored: {NAME}" in printed(console)


def test_an_evaluation_names_the_folder_as_it_is(console: Console) -> None:
    evaluation = Mock(source=NAME, left_out=0, folder=Path("/") / NAME, table=lambda: [{"model": NAME}])
    show_evaluation(console, evaluation)
    assert f"are in /{NAME}\n" in printed(console)


def test_a_search_prints_a_command_that_a_shell_reads(console: Console) -> None:
    show_tuning(console, Tuning("run", {}, Path("/") / NAME))
    assert f"are in /{NAME}." in printed(console)
    assert f"--tuned '/{NAME}' ..." in printed(console)


def test_a_summary_prints_the_verdict_and_the_bento_as_they_are(console: Console) -> None:
    summary = RunSummary.model_construct(
        run_id=NAME, models=(), bento=NAME, data=DataSummary.model_construct(),
        verdict=VerdictSummary.model_construct(reason=f"because {NAME}", promoted=False),
    )  # fmt: skip
    show_summary(console, summary)
    assert f"Verdict  because {NAME}" in printed(console)
    assert f"Bento    {NAME}" in printed(console)
    assert f"{NAME}/report.html\n" in printed(console)


def test_a_plan_prints_its_reasons_as_they_are(console: Console, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "plan", lambda *_: [PlannedStep("fit", "runs", f"{NAME} is new")])
    show_plan(console, TrainConfig(profile="demo"))
    assert f"{NAME} is new" in printed(console)


@pytest.mark.parametrize("option", ["--data.path", "--distilbert.epochs"])
def test_a_refused_option_is_quoted_as_it_was_given(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "--plan", "--profile", "standard", option, f"/tmp/{NAME}"])
    with pytest.raises(SystemExit) as done:
        run_from_shell(train, TrainConfig, prog="train", show=show_summary, actions={"plan": ("", show_plan)})
    assert done.value.code == 2
    assert f"/tmp/{NAME}" in capsys.readouterr().err


@pytest.mark.parametrize(("folder", "character"), [("a%20b", "'%20'"), ("really?", "'?'")])
@pytest.mark.parametrize("setting", ["POLARITY_HOME", "PREFECT_HOME"])
def test_a_folder_whose_database_would_be_elsewhere_is_refused_at_once(
    setting: str, folder: str, character: str, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    place = tmp_path / folder
    place.mkdir()
    monkeypatch.setattr(terminal, "is_responding", lambda _: False)
    monkeypatch.setattr(sys, "argv", ["train", "--profile", "demo"])
    if setting == "POLARITY_HOME":
        monkeypatch.setenv(setting, str(place))
        settings.cache_clear()
    updates = {PREFECT_HOME: place} if setting == "PREFECT_HOME" else {}
    with temporary_settings(updates, restore_defaults={PREFECT_API_URL}), pytest.raises(SystemExit) as done:
        run_from_shell(train, TrainConfig, prog="train", show=show_summary)
    assert done.value.code == 2
    message = capsys.readouterr().err
    assert f"{place} contains {character}" in message
    assert setting in message
    assert list(tmp_path.rglob("*.db")) == []
