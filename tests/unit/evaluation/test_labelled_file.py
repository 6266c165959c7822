"""Labelled files on which a stored model is measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from polarity.config.sections import DataConfig
from polarity.evaluation.labelled_file import read_labelled

LABELS = ("negative", "positive")


def test_near_identical_texts_have_the_same_key(write_csv: Callable[..., Path], tmp_path: Path) -> None:
    rows = [("positive", "@joe good day"), ("positive", "@ann Good day!"), ("negative", "bad day"), ("meh", "bad day")]
    config = DataConfig(path=write_csv(rows))
    read = read_labelled(config, LABELS, tmp_path / "tweets.parquet", max_bad_share=0.5)
    first, second, third = pd.read_parquet(read.path)["key"]
    assert first == second != third


def test_a_column_named_key_is_replaced(write_csv: Callable[..., Path], tmp_path: Path) -> None:
    path = write_csv([("positive", "good day"), ("negative", "bad day")], header="label,text")
    frame = pd.read_csv(path).assign(key="the same")
    frame.to_csv(path, index=False)
    read = read_labelled(DataConfig(path=path), LABELS, tmp_path / "tweets.parquet", max_bad_share=0)
    assert pd.read_parquet(read.path)["key"].nunique() == 2
