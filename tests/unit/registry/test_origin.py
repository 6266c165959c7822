"""What today's tweets have in common with those that a champion learned from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polarity.data.splits import Splits
from polarity.pipeline.config import TrainConfig
from polarity.registry.learned import hashes, learned_hashes, split_keys, write_learned
from polarity.registry.origin import line_of, other_origin

LABELS = ("negative", "positive")


def key(number: int) -> str:
    """A key whose leading digits differ, as those of hashes do."""
    return f"{number:016x}00000000"


def splits(folder: Path, train: range, validation: range, test: range) -> Splits:
    """Splits of texts that are known by their numbers."""
    folder.mkdir()
    for split, numbers in (("train", train), ("validation", validation), ("test", test)):
        pq.write_table(pa.table({"key": [key(number) for number in numbers]}), folder / f"{split}.parquet")
    return Splits(folder, LABELS, {}, {}, 0)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/data/tweets.csv", "/data/tweets.csv"),
        ("/data/tweets-2026-11-27.csv.gz", "/data/tweets#.csv.gz"),
        ("/data/tweets_20261127T0230.parquet", "/data/tweets#.parquet"),
        ("/data/2026/export 7.csv", "/data/2026/export #.csv"),
    ],
)
def test_a_line_is_a_file_without_its_numbers_and_dates(path: str, line: str) -> None:
    config = TrainConfig.model_validate({"data": {"path": path}})
    assert line_of(config) == line
    assert line_of(config.model_copy(update={"line": "support"})) == "support"
    assert line_of(TrainConfig(profile="demo")) == "generated"


def test_a_fit_learned_from_the_rows_that_it_used_and_from_validation(tmp_path: Path) -> None:
    of = splits(tmp_path / "s", range(100, 200), range(200, 210), range(50))
    learned = learned_hashes(of, np.array([0, 99]))
    assert learned.tolist() == hashes([key(n) for n in (100, 199, *range(200, 210))]).tolist()
    path = write_learned(learned, tmp_path)
    assert np.load(path).tolist() == learned.tolist()
    assert split_keys(of, "test")[0] == key(0)


@pytest.mark.parametrize(
    ("line", "known_line", "share", "other"),
    [
        ("a", "a", 0.0, False),
        ("b", "a", 0.0, True),
        ("b", "a", 0.4, True),
        ("b", "a", 0.6, False),
        ("b", None, 0.0, False),
    ],
)
def test_another_origin_is_another_name_and_other_tweets(
    tmp_path: Path, line: str, known_line: str | None, share: float, other: bool
) -> None:
    today = splits(tmp_path / "s", range(100, 1000), range(50), range(50, 100))
    start = round(1000 * (1 - share))
    learned = hashes([key(number) for number in range(start, start + 1000)])
    found = other_origin(
        "c (version 1)",
        line=line,
        champion_line=known_line,
        labels=LABELS,
        champion_labels=LABELS,
        splits=today,
        learned=learned,
    )
    assert (found is not None) is other
    if found:
        assert "(a; " in found and "today's b" in found
