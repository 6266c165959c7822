from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polarity.config.sections import PreparationConfig
from polarity.data.snapshot import write_snapshot
from polarity.data.splits import SPLIT_NAMES, Splits, normalise, prepare, read_splits
from polarity.errors import ArtifactError

LABELS = ("negative", "positive")


def split(rows: list[tuple[str, str]], folder: Path, **options: object) -> Splits:
    table = pa.table(
        {
            "row": pa.array(range(1, len(rows) + 1), pa.int64()),
            "text": pa.array([text for text, _ in rows], pa.string()),
            "label": pa.array([label for _, label in rows], pa.string()),
        }
    )
    snapshot = write_snapshot(table, folder / "in", source="t", labels=LABELS)
    return prepare(snapshot, PreparationConfig.model_validate(options), folder / "out")


def sides(splits: Splits) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name in SPLIT_NAMES:
        for text in pq.read_table(splits.path(name)).column("text").to_pylist():
            found.setdefault(normalise(text), set()).add(name)
    return found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Good morning!", "good  MORNING"),
        ("@joe hi there", "@anna hi there!!"),
        ("see http://a.example/1", "See www.b.example"),
        ("fish &amp; chips", "fish & chips"),
    ],
)
def test_near_identical_texts_have_the_same_key(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"), [(":)", ":("), ("good", "bad"), ("@joe :)", "@joe :("), ("\u2665", "\u2639")]
)
def test_different_texts_have_different_keys(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.text("abAB! @.", min_size=1, max_size=6), st.sampled_from(LABELS)), min_size=1, max_size=60)
)
def test_no_key_is_in_two_splits_and_no_row_is_lost(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    splits = split(rows, tmp_path_factory.mktemp("splits"))
    assert all(len(found) == 1 for found in sides(splits).values())
    assert sum(splits.rows.values()) + splits.set_aside == len(rows)
    labels_of: dict[str, set[str]] = {}
    for name in SPLIT_NAMES:
        for entry in pq.read_table(splits.path(name)).to_pylist():
            labels_of.setdefault(entry["key"], set()).add(entry["label"])
    assert all(len(found) == 1 for found in labels_of.values())


def test_a_row_keeps_its_split_when_data_is_added(tmp_path: Path) -> None:
    rows = [(f"text {i}", LABELS[i % 2]) for i in range(500)]
    before = sides(split(rows, tmp_path / "a"))
    after = sides(split([(f"more {i}", LABELS[i % 2]) for i in range(300)] + rows, tmp_path / "b"))
    assert all(after[key] == side for key, side in before.items())


def test_shares_and_salt(tmp_path: Path) -> None:
    rows = [(f"text {i}", LABELS[i % 2]) for i in range(5000)]
    one = split(rows, tmp_path / "a")
    assert one.rows["test"] / 5000 == pytest.approx(0.2, abs=0.02)
    assert one.rows["validation"] / 5000 == pytest.approx(0.1, abs=0.02)
    other = split(rows, tmp_path / "b", salt="another")
    assert other.digests != one.digests
    assert read_splits(one.folder) == one


def test_conflicting_labels_are_set_aside_with_the_reason(tmp_path: Path) -> None:
    splits = split([("Same text", "negative"), ("same TEXT!", "positive"), ("other", "positive")], tmp_path)
    assert splits.set_aside == 2
    assert {entry["reason"] for entry in pq.read_table(splits.conflicts).to_pylist()} == {
        "the same text has a different label elsewhere"
    }


def test_a_folder_without_splits_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=str(tmp_path)):
        read_splits(tmp_path)


def test_a_column_named_key_is_replaced(tmp_path: Path) -> None:
    table = pa.table({"row": [1, 2], "text": ["one day", "One DAY!"], "label": ["positive"] * 2, "key": ["x", "y"]})
    splits = prepare(
        write_snapshot(table, tmp_path / "in", source="t", labels=LABELS), PreparationConfig(), tmp_path / "out"
    )
    (keys,) = [keys for name in SPLIT_NAMES if (keys := pq.read_table(splits.path(name)).column("key").to_pylist())]
    assert keys[0] == keys[1] not in ("x", "y")
