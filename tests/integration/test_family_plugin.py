"""A family from a separate package, the linear SVM of docs/extend.md, supports everything a built-in one does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from polarity.bento.server import served
from polarity.config.sections import BehaviourLimits
from polarity.config.settings import PROJECT
from polarity.data.corpus import generate_tweets

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.timeout(900)]

# there are few generated tweets, so behaviour limits must not decide here
NO_LIMITS = json.dumps(dict.fromkeys(BehaviourLimits.model_fields, 0))
BLOCKS = re.compile(r"^```(python|toml)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def git_status() -> str:
    done = subprocess.run(["git", "status", "--porcelain"], cwd=PROJECT, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the package from the documentation."""
    folder = tmp_path_factory.mktemp("plugin")
    found = BLOCKS.findall((PROJECT / "docs" / "extend.md").read_text())
    blocks = dict(reversed(found))  # keeps the first of each kind
    assert len(blocks["python"].splitlines()) < 80
    (folder / "source").mkdir()
    (folder / "source" / "polarity_svm.py").write_text(blocks["python"])
    (folder / "source" / "pyproject.toml").write_text(blocks["toml"])
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*install, "--python", sys.executable, "--target", str(folder / "site"), str(folder / "source")], check=True
    )
    return folder / "site"


@pytest.fixture(scope="module")
def shell(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs a module with the plugin installed and a separate home, and returns its output."""
    home = tmp_path_factory.mktemp("home")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(plugin), os.environ.get("PYTHONPATH")])),
        "POLARITY_HOME": str(home),
        "BENTOML_HOME": str(home / "bentoml"),
    }

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=PROJECT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run.home = home  # type: ignore[attr-defined]
    return run


@pytest.fixture(scope="module")
def tweets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "tweets.csv"
    rows = generate_tweets(rows=1500, labels=("negative", "positive"), seed=3).to_pandas()
    rows[["label", "text", "date"]].to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def summary(shell: Any, tweets: Path) -> dict[str, Any]:
    """Summary of a training run of the SVM and an underfitted logistic regression."""
    before = git_status()
    shell(
        "flows.train", "--profile", "demo", "--models", "logistic,svm", "--data.source", "file", "--data.path",
        str(tweets), "--logistic.c", "0.0001", "--svm.c", "0.5", "--svm.train_rows", "900",
        "--behaviour.svm", NO_LIMITS,
    )  # fmt: skip
    assert git_status() == before
    (run,) = (shell.home / "runs").iterdir()
    found: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return {**found, "folder": run}


def test_plugin_appears_in_help_and_run_form(shell: Any) -> None:
    assert "--svm.c float" in shell("flows.train", "--help")
    schema = "from polarity.pipeline.config import TrainConfig; print(TrainConfig.model_json_schema())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(shell.home), os.environ.get("PYTHONPATH", "")])}
    without = subprocess.run(
        [sys.executable, "-c", schema], env=environment, capture_output=True, text=True, check=True
    )
    assert "svm" not in without.stdout, "it must not appear where it is not installed"


def test_plugin_trains_with_the_others_and_is_selected_if_best(summary: dict[str, Any]) -> None:
    logistic, svm = summary["models"]
    assert (svm["name"], svm["family"]) == ("svm", "svm")
    assert svm["validation"]["macro_f1"] > logistic["validation"]["macro_f1"] + 0.02
    assert summary["verdict"]["selected"] == "svm" and summary["verdict"]["promoted"]
    assert summary["bento"].startswith("sentiment:svm-")
    assert "Most telling words of svm" in (summary["folder"] / "report.html").read_text()


def test_plugin_that_knows_nothing_of_training_rows_has_them_written_down(shell: Any, summary: dict[str, Any]) -> None:
    (splits,) = (shell.home / "store" / "prepare").glob("*/train.parquet")
    texts = pd.read_parquet(splits)["text"]
    logistic, svm = (
        np.load(path)
        for name in ("logistic", "svm")
        for path in shell.home.glob(f"store/fit-{name}/*/training_rows.npy")
    )
    assert logistic.tolist() == list(range(len(texts)))
    assert len(svm) == len(set(svm.tolist())) == 900 == summary["models"][1]["train_rows"] < len(texts)
    (evaluated,) = (shell.home / "store" / "evaluate-svm").glob("*/predictions/train.parquet")
    assert set(pd.read_parquet(evaluated)["text"]) <= set(texts.iloc[svm])


def test_plugin_is_bundled_in_its_bento_and_explains_exactly(shell: Any, summary: dict[str, Any]) -> None:
    folder = shell.home / "bentoml" / "bentos" / summary["bento"].replace(":", "/")
    assert (folder / "src" / "polarity_svm.py").is_file()
    with (
        served(folder, environment={"PYTHONPATH": ""}) as server,  # without the installed package
        httpx.Client(base_url=server.url, trust_env=False) as client,
    ):
        answer = client.post("/predict", json={"text": "what a lovely day"}).json()
        explained = client.post("/explain", json={"text": "what a lovely day"}).json()
        assert answer["model"]["family"] == "svm"
        assert explained["method"] == "exact"
        assert [word["word"] for word in explained["words"]] == ["what", "a", "lovely", "day"]


@pytest.mark.soak
def test_plugin_scores_files(shell: Any, summary: dict[str, Any], tweets: Path, tmp_path: Path) -> None:
    shell("flows.score", "--data.path", str(tweets), "--output", str(tmp_path / "scores"))
    scores = pd.read_parquet(tmp_path / "scores" / "scores")
    assert set(scores["sentiment"].dropna()) == {"negative", "positive"}
    assert scores["model"].iloc[0].startswith("svm")


@pytest.mark.soak
def test_plugin_is_tuned_over_its_own_search_space(shell: Any, tweets: Path) -> None:
    printed = shell(
        "flows.tune", "--profile", "demo", "--models", "svm", "--data.source", "file", "--data.path", str(tweets)
    )
    assert all(f"c {value}" in printed for value in ("0.05", "0.2", "1"))


def test_only_the_plugins_own_file_triggers_its_refit(
    shell: Any, summary: dict[str, Any], plugin: Path, tweets: Path
) -> None:
    module = plugin / "polarity_svm.py"
    before = module.read_text()
    module.write_text(before.replace("min_df=2", "min_df=3"))
    try:
        planned = shell(
            "flows.train", "--profile", "demo", "--models", "logistic,svm", "--data.source", "file", "--data.path",
            str(tweets), "--logistic.c", "0.0001", "--svm.c", "0.5", "--svm.train_rows", "900",
            "--behaviour.svm", NO_LIMITS, "--plan",
        )  # fmt: skip
    finally:
        module.write_text(before)
    states = {line.split()[0]: line.split()[1] for line in planned.splitlines() if len(line.split()) > 2}
    assert states["fit-svm"] == "runs"
    assert states["fit-logistic"] == states["evaluate-logistic"] == states["prepare"] == "kept"
