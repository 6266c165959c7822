from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polarity.config.sections import GateConfig, PreparationConfig
from polarity.data import gates
from polarity.data.acceptance import accept, read_acceptance
from polarity.data.corpus import generate_tweets
from polarity.data.snapshot import Snapshot, write_snapshot
from polarity.data.split_gate import check_splits
from polarity.data.splits import prepare
from polarity.errors import ArtifactError, DataRejected
from polarity.evaluation.prediction_gate import check_predictions
from polarity.evaluation.predictions import Predictions

LABELS = ("negative", "positive")


def snapshot_of(texts: list[str | None], labels: list[str | None], folder: Path) -> Snapshot:
    table = pa.table(
        {
            "row": pa.array(range(1, len(texts) + 1), pa.int64()),
            "text": pa.array(texts, pa.string()),
            "label": pa.array(labels, pa.string()),
        }
    )
    return write_snapshot(table, folder / "snapshot", source="test.csv", labels=LABELS)


def good(rows: int) -> tuple[list[str | None], list[str | None]]:
    return [f"tweet number {i} of a good set" for i in range(rows)], [LABELS[i % 2] for i in range(rows)]


def test_bad_rows_are_quarantined_with_their_reasons(tmp_path: Path) -> None:
    texts, labels = good(400)
    texts[3], texts[5], texts[9], labels[7], labels[11] = None, "  ", "x" * 1001, None, "meh"
    acceptance = accept(snapshot_of(texts, labels, tmp_path), GateConfig(), tmp_path / "gate")
    assert acceptance.refusal is None
    kept = acceptance.accepted.read().column("row").to_pylist()
    set_aside = pq.read_table(acceptance.quarantine).to_pylist()
    assert {entry["row"] for entry in set_aside} == {4, 6, 8, 10, 12}
    assert sorted(kept + [entry["row"] for entry in set_aside]) == list(range(1, 401)), "no row is lost"
    reasons = {entry["row"]: entry["reason"] for entry in set_aside}
    assert "missing" in reasons[4]
    assert "blank" in reasons[6]
    assert "label is missing" in reasons[8]
    assert "longer than 1000" in reasons[10]
    assert "not one of ['negative', 'positive']" in reasons[12]
    assert read_acceptance(tmp_path / "gate") == acceptance
    assert (tmp_path / "gate" / "data_docs" / "index.html").exists()


def _one_class(texts: list[str | None], labels: list[str | None]) -> None:
    labels[:] = ["negative"] * len(labels)


def _rare_class(texts: list[str | None], labels: list[str | None]) -> None:
    labels[:] = ["positive"] * 4 + ["negative"] * (len(labels) - 4)


def _duplicates(texts: list[str | None], labels: list[str | None]) -> None:
    texts[: int(0.4 * len(texts))] = ["The same again"] * int(0.4 * len(texts))


def _mojibake(texts: list[str | None], labels: list[str | None]) -> None:
    texts[:] = [f"caf\u00c3\u00a9 n\u00c3\u00bamero {i}" for i in range(len(texts))]


def _strange_labels(texts: list[str | None], labels: list[str | None]) -> None:
    labels[:] = [{"negative": "0", "positive": "1"}[str(label)] for label in labels]


def _blank(texts: list[str | None], labels: list[str | None]) -> None:
    texts[: len(texts) // 4] = [" "] * (len(texts) // 4)


def _bad_in_many_ways(texts: list[str | None], labels: list[str | None]) -> None:
    # each way stays below its own limit, all together do not
    texts[0:16] = [None] * 16
    texts[20:36] = [" "] * 16


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_one_class, r"no row is labelled \['positive'\]; the classes are \['negative', 'positive'\]"),
        (_rare_class, "rarest class has 1.0%"),
        (_duplicates, r"39\.\d% of the rows repeat"),
        (_mojibake, "wrong encoding"),
        (_strange_labels, r"--data.label_map.*400 of 400 rows \(100.0%\), the first at row 1, for example '0', '1'"),
        (_blank, "blank: 100 of 400"),
        (_bad_in_many_ways, "8.0% of the rows are bad"),
    ],
)
def test_a_set_that_is_unfit_for_training_is_rejected_with_the_reason(
    tmp_path: Path, spoil: object, message: str
) -> None:
    texts, labels = good(400)
    spoil(texts, labels)  # type: ignore[operator]
    acceptance = accept(snapshot_of(texts, labels, tmp_path), GateConfig(), tmp_path / "gate")
    with pytest.raises(DataRejected, match=message) as refusal:
        _ = acceptance.accepted
    assert "test.csv" in str(refusal.value)
    assert acceptance.quarantine.exists()
    assert (tmp_path / "gate" / "data_docs" / "index.html").exists()


def test_too_few_rows_are_rejected(tmp_path: Path) -> None:
    texts, labels = good(50)
    acceptance = accept(snapshot_of(texts, labels, tmp_path), GateConfig(), tmp_path / "gate")
    assert "50 rows" in str(acceptance.refusal)


def test_the_demo_corpus_passes_with_some_rows_quarantined(tmp_path: Path) -> None:
    table = generate_tweets(rows=3000, labels=LABELS, seed=7)
    snapshot = write_snapshot(table, tmp_path / "s", source="generated", labels=LABELS)
    acceptance = accept(snapshot, GateConfig(), tmp_path / "gate")
    assert acceptance.refusal is None
    assert 0 < acceptance.quarantined < 60


@pytest.mark.parametrize("suite", ["raw_tweets", "prepared_tweets", "predictions"])
def test_an_expectation_that_cannot_be_read_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suite: str
) -> None:
    reviewed = json.loads((gates.SUITES / f"{suite}.json").read_text())
    reviewed["expectations"][1]["type"] = "expect_something_that_is_not_there"
    (tmp_path / f"{suite}.json").write_text(json.dumps(reviewed))
    monkeypatch.setattr(gates, "SUITES", tmp_path)
    with pytest.raises(ArtifactError, match="could read only"):
        gates.validate(pd.DataFrame({"row": [1]}), suite=suite, parameters={}, docs=tmp_path / "docs")


def test_the_gates_of_tasks_that_run_in_parallel_do_not_interfere(tmp_path: Path) -> None:
    labels = np.arange(40) % 2
    spread = np.linspace(0.1, 0.9, 40, dtype=np.float32)

    def checked(task: int) -> tuple[bool, ...]:
        probabilities = np.stack([spread, 1 - spread], axis=1)
        if task % 2:
            probabilities[task] *= 3
        predictions = Predictions(labels, probabilities, LABELS, pd.DataFrame(index=range(40)))
        result = check_predictions(predictions, tmp_path / str(task), rows=40)
        assert (tmp_path / str(task) / "index.html").exists()
        return tuple(check.passed for check in result.checks)

    with ThreadPoolExecutor(8) as tasks:
        verdicts = list(tasks.map(checked, range(16)))
    assert all(all(passed) is (task % 2 == 0) for task, passed in enumerate(verdicts))


def test_leaking_splits_are_rejected(tmp_path: Path) -> None:
    texts, labels = good(600)
    acceptance = accept(snapshot_of(texts, labels, tmp_path), GateConfig(), tmp_path / "gate")
    splits = prepare(acceptance.accepted, PreparationConfig(), tmp_path / "splits")
    check_splits(splits, PreparationConfig(), GateConfig(), tmp_path / "docs").refuse("The splits")
    leak = pq.read_table(splits.path("test")).slice(0, 1)
    pq.write_table(pa.concat_tables([pq.read_table(splits.path("train")), leak]), splits.path("train"))
    result = check_splits(splits, PreparationConfig(), GateConfig(), tmp_path / "docs2")
    with pytest.raises(DataRejected, match="more than one split"):
        result.refuse("The splits")


def test_the_digest_depends_on_the_rows_not_on_the_file(tmp_path: Path) -> None:
    texts, labels = good(300)
    first = snapshot_of(texts, labels, tmp_path / "a").manifest.digest
    assert snapshot_of(texts, labels, tmp_path / "b").manifest.digest == first
    texts[0] = "another"
    assert snapshot_of(texts, labels, tmp_path / "c").manifest.digest != first
    assert np.array(list(first)).size == 64
