"""The scoring flow on a real Prefect server."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

from flows.score import score, show_scores
from flows.terminal import run_from_shell
from polarity.families.logistic import LogisticConfig
from polarity.families.registry import family_of
from polarity.pipeline.config import ScoreConfig
from polarity.text.tweets import Tweets

pytestmark = [pytest.mark.usefixtures("prefect_server", "home"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tweets = Tweets(["awful sad day", "great happy day"] * 40, np.arange(80) % 2, ("negative", "positive"))
    classifier = family_of("logistic").classifier(LogisticConfig(char_ngrams=None, min_df=1), name="logistic", seed=0)
    return classifier.fit(tweets, tweets, lambda *_, **__: None).export(tmp_path_factory.mktemp("model")).folder


def run(*options: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["score", *options])
    with pytest.raises(SystemExit) as done:
        run_from_shell(score, ScoreConfig, prog="score", show=show_scores)
    return int(str(done.value.code))


def test_shell_command_writes_scores_and_artifacts(
    model: Path, home: Path, tmp_path: Path, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tweets.csv"
    days = ["2009-04-06", "Tue Apr 07 10:00:00 PDT 2009"]
    rows = [f"{i},{days[i % 2]},{('great #win', 'awful #fail', '')[i % 3]}" for i in range(90)]
    path.write_text("\n".join(["id,date,text", *rows]) + "\n")
    options = ("--model", str(model), "--data.path", str(path), "--workers", "1", "--shard_rows", "40")
    assert run(*options, monkeypatch=monkeypatch) == 0
    (folder,) = (home / "runs").glob("score-tweets-logistic-*")
    written = json.loads((folder / "summary.json").read_text())
    assert written["sentiments"] == {"positive": 30, "negative": 30}
    assert written["unscored"] == {"no text": 30}
    assert written["days"] == {
        "2009-04-06": {"positive": 15, "negative": 15},
        "2009-04-07": {"negative": 15, "positive": 15},
    }
    assert written["hashtags"] == {"fail": {"negative": 30}, "win": {"positive": 30}}
    assert (folder / "sentiment.png").read_bytes().startswith(b"\x89PNG")
    only = {"artifacts": {"key": {"any_": ["scores", "sentiment-by-day"]}}}  # of any test of this session
    found = httpx.post(f"{prefect_server}/artifacts/filter", json=only).raise_for_status().json()
    shown = {(artifact["key"], part) for artifact in found for part in str(artifact["data"]).splitlines()}
    assert ("scores", "| #win | 0 | 30 |") in shown
    assert any(f"/runs/{folder.name}/sentiment.png" in part for key, part in shown if key == "sentiment-by-day")

    parts = {part: part.stat().st_mtime_ns for part in (folder / "scores").iterdir()}
    assert run(*options, monkeypatch=monkeypatch) == 0
    assert {part: part.stat().st_mtime_ns for part in (folder / "scores").iterdir()} == parts


def test_missing_champion_exits_with_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--data.path", str(tmp_path), monkeypatch=monkeypatch) == 2
    assert "There is no model 'champion'" in capsys.readouterr().err
