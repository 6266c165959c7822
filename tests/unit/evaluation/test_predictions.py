"""Predictions with their true labels: predicted, written, read, timed."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from polarity.errors import ArtifactError, ConfigurationError
from polarity.evaluation import machine
from polarity.evaluation.latency import Latency, measure_latency
from polarity.evaluation.machine import Machine
from polarity.evaluation.predictions import CHUNK_ROWS, Predictions, predict_rows

NAMES = ("negative", "neutral", "positive")
HERE = Machine.here()


class ByLength:
    """Classifies by text length and records its calls."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.calls.append(len(texts))
        return np.eye(3, dtype=np.float32)[[len(text) % 3 for text in texts]]


@pytest.fixture
def rows() -> pd.DataFrame:
    return pd.DataFrame(
        {"text": ["abc", "abcd", "🙂é"], "label": ["negative", "positive", "positive"], "block": ["head", None, "tail"]}
    )


def test_rows_are_predicted_in_order_with_their_columns(rows: pd.DataFrame) -> None:
    found = predict_rows(ByLength(), rows, NAMES)
    assert found.predicted.tolist() == [0, 1, 2]
    assert found.labels.tolist() == [0, 2, 2]
    assert list(found.columns) == ["text", "block"]
    assert found.measure(seed=0).accuracy == pytest.approx(2 / 3)


def test_tweets_with_the_same_key_are_one_group_also_in_the_file(rows: pd.DataFrame, tmp_path: Path) -> None:
    assert predict_rows(ByLength(), rows, NAMES).groups is None
    found = predict_rows(ByLength(), rows.assign(key=["k", "l", "k"]), NAMES)
    back = Predictions.read(found.write(tmp_path / "test.parquet"), NAMES)
    for predictions in (found, back):
        assert predictions.groups is not None
        assert predictions.groups.tolist() == [0, 1, 0]
    copies = pd.concat([rows.assign(key=["k", "l", "m"])] * 30, ignore_index=True)
    by_text = predict_rows(ByLength(), copies, NAMES).measure(seed=0)
    taken_apart = predict_rows(ByLength(), copies.drop(columns="key"), NAMES).measure(seed=0)
    width, too_narrow = (low - high for low, high in (by_text.accuracy_interval, taken_apart.accuracy_interval))
    assert abs(width) > 3 * abs(too_narrow)


def test_many_rows_are_predicted_in_chunks() -> None:
    predict = ByLength()
    many = pd.DataFrame({"text": ["x"] * (CHUNK_ROWS + 1), "label": "neutral"})
    assert len(predict_rows(predict, many, NAMES)) == CHUNK_ROWS + 1
    assert predict.calls == [CHUNK_ROWS, 1]


def test_a_file_has_the_columns_of_the_contract_and_round_trips(rows: pd.DataFrame, tmp_path: Path) -> None:
    found = predict_rows(ByLength(), rows, NAMES)
    path = found.write(tmp_path / "deep" / "test.parquet")
    frame = pd.read_parquet(path)
    assert list(frame) == ["label", "predicted", "p_negative", "p_neutral", "p_positive", "text", "block"]
    assert frame["predicted"].tolist() == ["negative", "neutral", "positive"]
    back = Predictions.read(path, NAMES)
    assert (back.labels == found.labels).all()
    assert (back.probabilities == found.probabilities).all()
    assert back.probabilities.dtype == np.float32
    assert back.columns["text"].tolist() == rows["text"].tolist()


def test_a_file_with_a_different_class_set_is_rejected(rows: pd.DataFrame, tmp_path: Path) -> None:
    path = predict_rows(ByLength(), rows, NAMES).write(tmp_path / "test.parquet")
    with pytest.raises(ArtifactError, match="p_mixed"):
        Predictions.read(path, (*NAMES, "mixed"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"nowhere\.parquet"):
        Predictions.read(tmp_path / "nowhere.parquet", NAMES)


def test_an_unknown_label_is_quoted(rows: pd.DataFrame) -> None:
    with pytest.raises(ConfigurationError, match="neutral"):
        predict_rows(ByLength(), rows.assign(label="neutral"), ("negative", "positive"))


def test_one_text_per_call_is_timed_after_warm_up() -> None:
    predict = ByLength()
    found = measure_latency(predict, ["a", "bb"], seed=0, machine=HERE, warm_up_calls=3, calls=40)
    assert predict.calls == [1] * 43
    assert found.calls == 40
    assert 0 < found.p50_ms <= found.p95_ms
    assert Latency.from_dict(json.loads(json.dumps(asdict(found)))) == found


def test_a_slow_model_is_timed_on_fewer_calls() -> None:
    predict = ByLength()
    found = measure_latency(predict, ["a"], seed=0, machine=HERE, warm_up_calls=0, min_calls=5, budget_s=0)
    assert found.calls == 5


def test_timing_without_texts_is_an_error() -> None:
    with pytest.raises(ValueError, match="no texts"):
        measure_latency(ByLength(), [], seed=0, machine=HERE)


def test_a_machine_has_its_processor_cores_and_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert HERE.processor
    assert HERE.threads == HERE.cores == len(os.sched_getaffinity(0))
    info = tmp_path / "cpuinfo"
    info.write_text(
        "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nprocessor\t: 1\nmodel name\t: Some CPU @ 2.00GHz\n"
    )
    monkeypatch.setattr(machine, "CPU_INFO", info)
    assert str(replace(Machine.here(), cores=1, threads=2)) == "Some CPU @ 2.00GHz, 1 core, 2 threads"
    info.write_text("processor\t: 0\n")
    assert Machine.here().processor, "at least the architecture"
    info.unlink()
    assert Machine.here().processor
