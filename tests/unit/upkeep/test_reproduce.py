from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from flows.reproduction import show_reproduction
from flows.terminal import run_from_shell, show_summary
from flows.train import train
from polarity.data.snapshot import write_snapshot
from polarity.errors import ConfigurationError
from polarity.evaluation.summary import RunSummary
from polarity.pipeline.config import TrainConfig
from polarity.pipeline.fingerprint import Fingerprint
from polarity.pipeline.store import Store
from polarity.upkeep.reproduce import LOCK_FILE, PastRun, caveats, compare, find_run, find_snapshot

FIGURES = {"accuracy": 0.8, "macro_f1": 0.79, "log_loss": 0.5}
METRICS = {**FIGURES, "accuracy_interval": [0.75, 0.85], "macro_f1_interval": [0.74, 0.84]}


def model(family: str, **changed: Any) -> dict[str, Any]:
    splits = {split: {**METRICS, **changed} for split in ("train", "validation", "test")}
    known = {"name": family, "family": family, "cached": False, "train_seconds": 1, "train_rows": 9, "size_bytes": 9}
    return {**known, **splits, "mlflow_run_id": "m", "latency_ms_p95": 1.0, "test_slices": {}}


def summary(*models: dict[str, Any], run_id: str = "20300101-demo", commit: str = "c" * 40) -> RunSummary:
    data = {"source": "tweets.csv", "digest": "d" * 64, "rows": 9, "quarantined": 0, "labels": ["a", "b"]}
    verdict = {"selected": None, "reason": "", "champion_before": None, "promoted": False}
    known = {"run_id": run_id, "profile": "demo", "git_commit": commit, "git_clean": False, "started": "", "seconds": 1}
    return RunSummary.model_validate({**known, "data": data, "models": models, "verdict": verdict, "bento": None})


def test_logistic_regression_agrees_to_the_last_digit_and_networks_within_their_interval() -> None:
    then = summary(model("logistic"), model("bilstm"))
    assert all(each.agrees for each in compare(then, then))
    near = compare(then, summary(model("logistic", accuracy=0.8 + 1e-15), model("bilstm", accuracy=0.84, log_loss=0.9)))
    assert {(each.model, each.figure) for each in near if not each.agrees} == {("logistic", "accuracy")}
    interval = compare(then, summary(model("logistic", macro_f1_interval=[0.7, 0.84]), model("bilstm")))
    assert {(each.model, each.figure) for each in interval if not each.agrees} == {("logistic", "macro_f1")}
    far = compare(then, summary(model("logistic"), model("bilstm", macro_f1=0.85)))
    assert {(each.model, each.split, each.figure) for each in far if not each.agrees} == {
        ("bilstm", "validation", "macro_f1"),
        ("bilstm", "test", "macro_f1"),
    }


def test_an_unknown_run_suggests_the_closest_id(tmp_path: Path) -> None:
    folder = tmp_path / "20300101-demo"
    folder.mkdir()
    (folder / "config.json").write_text('{"data": {}}')
    with pytest.raises(ConfigurationError, match="Did you mean 20300101-demo"):
        find_run("20300101-dem", tmp_path)
    with pytest.raises(ConfigurationError, match="it did not finish"):
        find_run("20300101-demo", tmp_path)
    summary().write(folder)
    assert find_run("20300101-demo", tmp_path).config == {"data": {}}


def test_a_missing_commit_is_refused_and_uncommitted_changes_are_reported(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=t", "-c", "user.email=t@localhost")
        done = subprocess.run(["git", "-C", tmp_path, *who, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "--quiet")
    (tmp_path / LOCK_FILE).write_text("numpy==1")
    git("add", "--all")
    git("commit", "--quiet", "-m", "first")
    past = PastRun(tmp_path, {}, summary(commit=git("rev-parse", "HEAD")))
    assert [caveat.split(";")[0] for caveat in caveats(past, tmp_path)] == [
        "The run 20300101-demo had uncommitted changes"
    ]
    (tmp_path / LOCK_FILE).write_text("numpy==2")
    assert "requirements.lock has changed since" in caveats(past, tmp_path)[1]
    with pytest.raises(ConfigurationError, match=f"commit {'c' * 40}, which the repository"):
        caveats(PastRun(tmp_path, {}, summary()), tmp_path)


def test_the_snapshot_is_found_by_its_digest_until_it_is_pruned_or_damaged(tmp_path: Path) -> None:
    store = Store(tmp_path)
    table = pa.table({"row": [1], "text": ["fine"], "label": ["a"]})
    made = store.run(
        Fingerprint("ingest", {"p": "1"}), lambda folder: write_snapshot(table, folder, source="t", labels=("a", "b"))
    )
    digest = json.loads((made.folder / "manifest.json").read_text())["digest"]
    assert find_snapshot(store, digest).read().column("text").to_pylist() == ["fine"]
    with pytest.raises(ConfigurationError, match=r"Snapshot 000000000000\.\.\. is no longer in the store"):
        find_snapshot(store, "0" * 64)
    (made.folder / "tweets.parquet").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="was pruned or damaged"):
        find_snapshot(store, digest)


@pytest.mark.parametrize(
    ("arguments", "agrees", "code", "message"),
    [
        (["--reproduce", "20300101-demo"], True, 0, ""),
        (["--reproduce", "20300101-demo"], False, 1, ""),
        (["--reproduce", "20300101-demo", "--seed", "5"], True, 2, "uses the options of the past run"),
    ],
)
def test_the_exit_code_reports_whether_both_agree(
    arguments: list[str],
    agrees: bool,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def act(console: Console, run_id: str) -> bool:
        assert run_id == "20300101-demo"
        return agrees

    assert _exit_code(arguments, {"reproduce": ("", act)}, monkeypatch) == code
    assert message in capsys.readouterr().err


def test_an_unknown_run_ends_with_exit_code_2(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _exit_code(["--reproduce", "20300101-demo"], {"reproduce": ("", show_reproduction)}, monkeypatch) == 2
    assert "There is no training run '20300101-demo'" in " ".join(capsys.readouterr().err.split())


def _exit_code(arguments: list[str], run_actions: Any, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(sys, "argv", ["train", *arguments])
    with pytest.raises(SystemExit) as done:
        run_from_shell(train, TrainConfig, prog="train", show=show_summary, run_actions=run_actions)
    return done.value.code
