from __future__ import annotations

import bz2
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from polarity.errors import ConfigurationError, DataRejected, PolarityError, ServiceUnavailable
from polarity.families.packaging import load_predictor
from polarity.pipeline.config import ScoreConfig
from polarity.registry.stored_model import StoredModel
from polarity.scoring.scoring import Scoring, open_scoring, score

Write = Callable[..., Path]
TEXTS = ["great day #win", "awful \U0001f622 day", 'the bus, "late"', "  ", "\x07", "&amp; so it goes"]


def write_tweets(path: Path, count: int) -> Path:
    frame = pd.DataFrame(
        {
            "id": [f"t{i}" for i in range(count)],
            "date": [f"2009-04-{1 + i % 28:02d}" for i in range(count)],
            "text": [TEXTS[i % len(TEXTS)] for i in range(count)],
            "lang": "en",
        }
    )
    frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


def planned(model: StoredModel, path: Path, output: Path, **options: object) -> Scoring:
    given = {"data": {"path": path}, "output": output, "shard_rows": 50, "workers": 1, **options}
    return open_scoring(ScoreConfig.model_validate(given), model)


def scores(scoring: Scoring) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(path) for path in sorted(scoring.parts().glob("*.parquet"))], ignore_index=True)


def test_every_row_comes_out_once_with_its_prediction(model: StoredModel, tmp_path: Path) -> None:
    scoring = planned(model, write_tweets(tmp_path / "t.csv", 230), tmp_path / "out", keep=["lang"], workers=2)
    tally = score(scoring)
    frame = scores(scoring)
    assert list(frame) == [
        "file", "row", "id", "date", "lang", "sentiment", "p_negative", "p_neutral", "p_positive", "model", "reason",
    ]  # fmt: skip
    assert frame["row"].tolist() == list(range(1, 231))
    assert frame["id"].tolist() == [f"t{i}" for i in range(230)]
    assert set(frame["model"]) == {"logistic (version 1)"}
    blank = frame["row"].sub(1).mod(6).isin([3, 4])
    assert frame.loc[blank, ["sentiment", "p_negative", "p_positive"]].isna().all(axis=None)
    assert set(frame.loc[blank, "reason"]) == {"no text"}
    assert frame.loc[~blank, "reason"].isna().all()
    expected = load_predictor(model.folder)([TEXTS[i % 6] for i in np.flatnonzero(~blank)])
    np.testing.assert_allclose(frame.loc[~blank, ["p_negative", "p_neutral", "p_positive"]], expected, atol=1e-6)
    assert frame.loc[~blank, "sentiment"].tolist() == [model.manifest.labels[at] for at in expected.argmax(axis=1)]
    assert tally.rows == 230
    assert tally.unscored == {"no text": blank.sum()}
    assert tally.sentiments == frame["sentiment"].value_counts().to_dict()
    manifest = json.loads((scoring.folder / "scoring.json").read_text())
    assert manifest["complete"]
    assert [shard["rows"] for shard in manifest["shards"]] == [50, 50, 50, 50, 30]


def test_a_folder_of_all_formats(model: StoredModel, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deeper").mkdir(parents=True)
    write_tweets(folder / "a.csv", 60)
    write_tweets(folder / "deeper" / "b.tsv", 10)
    pd.read_csv(folder / "a.csv").to_parquet(folder / "c.parquet")
    (folder / "notes.md").write_text("not tweets")
    scoring = planned(model, folder, tmp_path / "out")
    assert score(scoring).rows == 130
    assert scores(scoring).groupby("file")["row"].agg(["count", "max"]).to_dict("index") == {
        "a.csv": {"count": 60, "max": 60},
        "deeper/b.tsv": {"count": 10, "max": 10},
        "c.parquet": {"count": 60, "max": 60},
    }


def test_files_of_a_folder_that_are_not_scored_are_counted_and_named(model: StoredModel, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deeper").mkdir(parents=True)
    write_tweets(folder / "a.csv", 10)
    assert planned(model, folder, tmp_path / "none").remarks() == []
    assert planned(model, folder / "a.csv", tmp_path / "one").remarks() == []
    for name in (".DS_Store", "b.json", "deeper/c.txt", "d.docx"):
        (folder / name).write_text("[]")
    (remark,) = planned(model, folder, tmp_path / "some").remarks()
    assert f"Not read: 3 files in {folder} (b.json, d.docx, deeper/c.txt)." in remark
    for number in range(10):
        (folder / f"e{number}.txt").write_text("[]")
    (remark,) = planned(model, folder, tmp_path / "many").remarks()
    assert "13 files" in remark
    assert "(b.json, d.docx, deeper/c.txt, e0.txt, e1.txt, ...)" in remark


def test_json_lines_and_compressed_files_of_a_folder_are_scored(model: StoredModel, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_tweets(folder / "a.csv", 10)
    pd.read_csv(folder / "a.csv").to_json(folder / "b.jsonl", orient="records", lines=True)
    (folder / "c.csv.bz2").write_bytes(bz2.compress((folder / "a.csv").read_bytes()))
    scoring = planned(model, folder, tmp_path / "out")
    assert scoring.remarks() == []
    assert score(scoring).rows == 30
    assert set(scores(scoring)["file"]) == {"a.csv", "b.jsonl", "c.csv.bz2"}


def test_repeating_a_scoring_scores_nothing_and_returns_the_same_counts(model: StoredModel, tmp_path: Path) -> None:
    scoring = planned(model, write_tweets(tmp_path / "t.csv", 120), tmp_path / "out")
    first = score(scoring)
    written = {path: path.stat().st_mtime_ns for path in scoring.parts().iterdir()}
    again = score(planned(model, tmp_path / "t.csv", tmp_path / "out"))
    assert again == first
    assert {path: path.stat().st_mtime_ns for path in scoring.parts().iterdir()} == written


def test_a_lost_or_damaged_part_is_scored_again(model: StoredModel, tmp_path: Path) -> None:
    scoring = planned(model, write_tweets(tmp_path / "t.csv", 200), tmp_path / "out")
    first = score(scoring)
    before = scores(scoring)
    lost, cut, kept, _ = sorted(scoring.parts().iterdir())
    stamp = kept.stat().st_mtime_ns
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[:200])
    assert score(scoring) == first
    pd.testing.assert_frame_equal(scores(scoring), before)
    assert kept.stat().st_mtime_ns == stamp


def _other_rows(path: Path) -> dict[str, object]:
    write_tweets(path, 61)
    return {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_other_rows, "the tweets changed"),
        (lambda _: {"shard_rows": 40}, "the options changed"),
        (lambda _: {"keep": ["lang"]}, "the options changed"),
    ],
)
def test_a_folder_of_other_scores_is_refused(
    change: Callable[[Path], dict[str, object]], message: str, model: StoredModel, tmp_path: Path
) -> None:
    path = write_tweets(tmp_path / "t.csv", 60)
    planned(model, path, tmp_path / "out")
    options = change(path)
    with pytest.raises(ConfigurationError, match=message):
        planned(model, path, tmp_path / "out", **options)


def test_a_folder_scored_by_a_different_model_is_refused(model: StoredModel, tmp_path: Path) -> None:
    path = write_tweets(tmp_path / "t.csv", 10)
    planned(model, path, tmp_path / "out")
    other = StoredModel("logistic (version 2)", model.folder, model.manifest)
    with pytest.raises(ConfigurationError, match=r"scores by logistic \(version 1\), but the model changed since"):
        planned(other, path, tmp_path / "out")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give --data.path"),
        ({"data": {"path": "none.csv"}}, "none.csv does not exist"),
        ({"data": {"path": "."}}, "contains no file ending in"),
        ({"data": {"path": "t.txt", "text_column": "words"}}, "no column 'words' for the text"),
        ({"data": {"path": "t.txt", "id_column": "nr"}}, "no column 'nr' for the id"),
        ({"data": {"path": "t.txt"}, "keep": ["langs"]}, "Did you mean 'lang'"),
        ({"data": {"path": "t.txt"}, "keep": ["sentiment"]}, "there is no column 'sentiment'"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_scored(
    given: dict[str, object], message: str, model: StoredModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_tweets(tmp_path / "t.txt", 10)
    with pytest.raises(PolarityError, match=message) as refused:
        open_scoring(ScoreConfig.model_validate({**given, "output": tmp_path / "out"}), model)
    assert isinstance(refused.value, ConfigurationError | DataRejected)
    assert not (tmp_path / "out").exists()


def test_two_runs_at_once_are_refused(model: StoredModel, tmp_path: Path) -> None:
    scoring = planned(model, write_tweets(tmp_path / "t.csv", 10), tmp_path / "out")
    with FileLock(scoring.folder / ".lock"), pytest.raises(ConfigurationError, match="Another run is scoring"):
        score(scoring)


SCRIPT = """
import sys
from pathlib import Path
from polarity.pipeline.config import ScoreConfig
from polarity.scoring.scoring import open_scoring, score
from polarity.inference.package import ModelManifest
from polarity.registry.stored_model import StoredModel

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    model = StoredModel("logistic (version 1)", folder, ModelManifest.read(folder))
    options = {"data": {"path": sys.argv[2]}, "output": sys.argv[3], "shard_rows": 50, "workers": 2}
    score(open_scoring(ScoreConfig.model_validate(options), model))
"""


def test_scoring_resumes_after_a_kill_and_leaves_no_process(model: StoredModel, tmp_path: Path) -> None:
    path, output = write_tweets(tmp_path / "t.csv", 6_000), tmp_path / "out"
    script = tmp_path / "score.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen([sys.executable, str(script), str(model.folder), str(path), str(output)])
    parts = output / "scores"
    while len(list(parts.glob("*.parquet"))) < 8:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert [child.status() for child in alive if child.status() != psutil.STATUS_ZOMBIE] == []
    done = {part: part.stat().st_mtime_ns for part in parts.glob("*.parquet")}
    assert len(done) < 120, "everything was done when it was killed"
    for part in done:
        pq.read_table(part)  # whole

    scoring = planned(model, path, output)
    tally = score(scoring)
    assert {part: part.stat().st_mtime_ns for part in done} == done
    assert scores(scoring)["row"].tolist() == list(range(1, 6_001))
    assert tally.rows == 6_000
    fresh = planned(model, path, tmp_path / "fresh")
    assert score(fresh) == tally
    pd.testing.assert_frame_equal(scores(scoring), scores(fresh))


def test_a_killed_worker_is_reported_and_the_next_attempt_resumes(model: StoredModel, tmp_path: Path) -> None:
    scoring = planned(model, write_tweets(tmp_path / "t.csv", 2_000), tmp_path / "out")
    killed: list[int] = []

    def kill(_: object) -> None:
        if not killed:
            (worker,) = [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]
            worker.kill()
            killed.append(worker.pid)

    with pytest.raises(ServiceUnavailable, match="run the same command again to resume"):
        score(scoring, kill)
    assert killed
    assert score(scoring).rows == 2_000
    assert scores(scoring)["row"].tolist() == list(range(1, 2_001))
