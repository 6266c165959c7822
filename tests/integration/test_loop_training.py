"""Training on what came in: the real flows, a real record, and a person who is asked on a real Prefect server."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.csv as pc
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateName,
    TaskRunFilter,
    TaskRunFilterName,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.flow_runs import resume_flow_run

from flows.collect import collect
from flows.lease import one_training
from flows.train import train
from polarity.config.sections import BehaviourLimits
from polarity.config.settings import settings
from polarity.data.corpus import generate_tweets
from polarity.evaluation.summary import RunSummary
from polarity.pipeline.config import CollectConfig, TrainConfig
from polarity.record.answer import Answer, Served
from polarity.record.options import RecordOptions
from polarity.record.prediction_id import prediction_id
from polarity.record.spool import Spool
from polarity.record.store import RecordStore
from polarity.watch.production import Champion
from tests.integration.servers import until

pytestmark = [pytest.mark.usefixtures("prefect_server", "home"), pytest.mark.timeout(600)]


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty record, which the environment names."""
    path = tmp_path / "log.db"
    monkeypatch.setenv("POLARITY_PREDICTION_LOG", str(path))
    return path


def answer(record: Path, rows: list[dict[str, str]], *, right: bool, version: str) -> None:
    """Record an answer for each row, and its label."""
    now = time.time()
    spool = Spool(record, served=Served("logistic", version, "b:1"), texts="full", limit_bytes=2**26, evict=True)
    other = {"negative": "positive", "positive": "negative"}
    given = [
        Answer(
            prediction_id(now), now, row["text"], said, 0.9, {"negative": 0.1, "positive": 0.9}, None, 0, 0, 0, False
        )
        for row in rows
        for said in [row["label"] if right else other[row["label"]]]
    ]
    spool.write(given, [])
    spool.close()
    store = RecordStore(RecordOptions.read())
    store.add_labels({one.id: row["label"] for one, row in zip(given, rows, strict=True)}, now, "volunteered")
    store.close()


def moved(rows: int, seed: int) -> list[dict[str, str]]:
    """Tweets of another kind: words that the file does not have, whose meaning the labels give."""
    moods = {"positive": "glimrous", "negative": "drobble"}
    return [
        {"text": f"{moods[label]} day {seed} number {n}", "label": label}
        for n in range(rows)
        for label in [("negative", "positive")[n % 2]]
    ]


def config(path: Path, **options: object) -> TrainConfig:
    given = {
        "profile": "standard",
        "models": ["logistic"],
        "data": {"path": str(path), "recent": {"enabled": True, "weight": 2}},
        "logistic": {"char_ngrams": None},
        "select": {"margin": 0.1},
        "behaviour": {"logistic": dict.fromkeys(BehaviourLimits.model_fields, 0)},
    }
    return TrainConfig.model_validate({**given, **options})


@pytest.fixture
def tweets(tmp_path: Path) -> Path:
    path = tmp_path / "tweets.csv"
    table = generate_tweets(rows=1500, labels=("negative", "positive"), seed=1)
    pc.write_csv(table.select(["text", "label"]), path)
    return path


@pytest.mark.soak
def test_new_labels_and_collected_tweets_make_a_better_champion(tweets: Path, record: Path, tmp_path: Path) -> None:
    first: RunSummary = train(config(tweets))
    assert first.verdict.promoted
    assert first.data.rows < 1600

    again = train(config(tweets))
    assert "It is already the champion" in again.verdict.reason

    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "a.csv").write_text(
        "text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in moved(600, seed=2))
    )
    harvest = collect(CollectConfig.model_validate({"data": {"path": str(inbox), "settle_s": 0}}))
    assert [entry.counts for entry in harvest.read] == [{"collected": 600}]
    served = Champion.find()
    assert served is not None
    answer(record, moved(800, seed=1), right=False, version=served.version)

    second = train(config(tweets, retrain={"if_it_pays": True, "price": 1}))
    assert second.verdict.promoted, second.verdict.reason
    assert "recent test tweets its macro-F1 is 1.000 against the champion's" in second.verdict.reason
    manifest = next(path for path in settings().store_folder.rglob("manifest.json") if "feedback" in path.read_text())
    assert '"feedback": 800' in manifest.read_text()
    assert '"collected": 600' in manifest.read_text()

    declined = train(config(tweets, retrain={"if_it_pays": True, "price": 1}))
    assert "the cool-down is 12 h" in declined


def test_a_person_is_asked(tweets: Path, record: Path) -> None:
    answers: list[object] = []

    def run() -> None:
        answers.append(train(config(tweets, retrain={"ask": True})))

    thread = threading.Thread(target=run)
    thread.start()
    paused = FlowRunFilter(state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Paused"])))
    with get_client(sync_client=True) as client:
        until(lambda: client.read_flow_runs(flow_run_filter=paused), message="nobody was asked")
        (flow_run,) = client.read_flow_runs(flow_run_filter=paused)
        resume_flow_run(flow_run.id, run_input={"train": False, "reason": "a holiday"})
        thread.join(120)
        assert answers == ["A person declined the training: a holiday."]
        assert client.read_flow_run(flow_run.id).state_name == "Skipped"
    assert not list(settings().runs_folder.glob("*"))


@pytest.mark.soak
def test_a_training_that_waited_for_another_one_weighs_again(tweets: Path, record: Path) -> None:
    """Two drifted windows are two runs, and both find that a training pays before either has begun."""
    answers: list[object] = []
    given = config(tweets, retrain={"if_it_pays": True})

    def run() -> None:
        answers.append(train(given))

    with one_training(), get_client(sync_client=True) as client:
        weighed = TaskRunFilter(
            name=TaskRunFilterName(like_="weigh"),
            state=TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.COMPLETED])),
        )
        before = len(client.read_task_runs(task_run_filter=weighed))
        thread = threading.Thread(target=run)
        thread.start()
        until(lambda: len(client.read_task_runs(task_run_filter=weighed)) > before, message="nothing was weighed")
        other = settings().runs_folder / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-standard-0000"
        other.mkdir(parents=True)
        (other / "config.json").write_text(given.model_dump_json())
    thread.join(120)
    (answer,) = answers
    assert "the cool-down is 12 h" in str(answer)
