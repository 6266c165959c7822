"""A past run brought back after its code has changed and its file is gone: real flows, git and MLflow."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from polarity.data.corpus import generate_tweets
from tests.integration.checkout import Checkout

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.timeout(900)]


def versions(home: Path) -> list[tuple[int]]:
    with sqlite3.connect(home / "mlruns" / "mlflow.db") as database:
        return database.execute("select version from model_versions").fetchall()


@pytest.mark.soak
def test_past_run_is_reproduced_with_its_code_and_data(tmp_path: Path) -> None:
    checkout = Checkout.make(tmp_path / "project", tmp_path / "home")
    commit = checkout.commit("as it was")
    tweets = tmp_path / "tweets.csv"
    generated = generate_tweets(rows=900, labels=("negative", "positive"), seed=3).to_pandas()
    generated[["label", "text"]].to_csv(tweets, index=False)
    trained = checkout.python(
        "-m", "flows.train", "--profile", "demo", "--data.source", "file", "--data.path", str(tweets),
        "--models", "logistic",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    (folder,) = (checkout.home / "runs").iterdir()
    then = json.loads((folder / "summary.json").read_text())
    assert (then["git_commit"], then["git_clean"]) == (commit, True)

    checkout.edit("src/polarity/families/tfidf.py", '"sublinear_tf": True', '"sublinear_tf": False')
    checkout.commit("another model")
    tweets.unlink()
    again = checkout.python("-m", "flows.train", "--reproduce", folder.name)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "Both runs agree" in again.stdout

    (made,) = (folder / "reproduced").iterdir()
    now = json.loads((made / "summary.json").read_text())
    assert (now["git_commit"], now["data"]["digest"]) == (commit, then["data"]["digest"])
    assert not now["models"][0]["cached"], "it was fitted again"
    for split in ("train", "validation", "test"):
        assert now["models"][0][split] == then["models"][0][split]
    assert json.loads((made / "reproduction.json").read_text())["reproduces"] == folder.name
    assert versions(checkout.home) == [(1,)], "nothing is registered"
    assert len(checkout.git("worktree", "list").splitlines()) == 1, "the work tree is gone"
    assert [path.name for path in (checkout.home / "runs").iterdir()] == [folder.name]
