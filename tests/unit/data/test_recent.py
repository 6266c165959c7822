"""Old and recent tweets in one data set: each text once, and nothing measured on labels by emoticon."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from polarity.config.sections import PreparationConfig
from polarity.data.recent import RECENT_SCHEMA, merge
from polarity.data.snapshot import write_snapshot
from polarity.data.splits import prepare
from polarity.families.mixture import mixture
from polarity.text.origins import COLLECTED, DISTANT, FEEDBACK, OLD, ORIGIN


def old(*rows: tuple[str, str]) -> pa.Table:
    return pa.table(
        {"row": list(range(1, len(rows) + 1)), "text": [row[0] for row in rows], "label": [row[1] for row in rows]}
    )


def recent(*rows: tuple[str, str, str]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(RECENT_SCHEMA.names, row, strict=True)) for row in rows], RECENT_SCHEMA)


def test_each_text_is_taken_once_and_the_file_has_precedence() -> None:
    merged = merge(
        old(("The sun is out", "positive"), ("rain :(", "negative")),
        recent(
            ("the sun is OUT!", "negative", FEEDBACK),
            ("new phone", "positive", COLLECTED),
            ("New phone!", "positive", FEEDBACK),
            ("new phone", "negative", DISTANT),
            ("rain", "negative", COLLECTED),
            ("late again", "negative", DISTANT),
        ),
        first_row=3,
    )
    added = merged.table.slice(2).select(["row", "text", ORIGIN]).to_pylist()
    assert [tuple(row.values()) for row in added] == [(3, "New phone!", FEEDBACK), (4, "late again", DISTANT)]
    assert merged.origins == {OLD: 2, FEEDBACK: 1, DISTANT: 1}
    assert merged.left_out == {
        "the file has the text": 1,
        "the file has the text with a different label": 1,
        "the same text and label came before": 1,
        "a person labelled the same text": 1,
    }
    assert (merged.noise.tweets, merged.noise.wrong) == (1, 0)


def test_tweets_labelled_by_emoticon_are_in_no_split_that_measures(tmp_path: Path) -> None:
    labels = ("negative", "positive")
    rows = [(f"tweet number {n}", labels[n % 2], DISTANT if n % 3 == 0 else COLLECTED) for n in range(600)]
    merged = merge(old(("first", "positive")), recent(*rows), first_row=2)
    splits = prepare(
        write_snapshot(merged.table, tmp_path / "s", source="x", labels=labels), PreparationConfig(), tmp_path / "p"
    )
    origins = {name: set(pq.read_table(splits.path(name))[ORIGIN].to_pylist()) for name in splits.rows}
    assert DISTANT in origins["train"]
    assert DISTANT not in origins["validation"] | origins["test"]
    assert COLLECTED in origins["test"]


def test_a_mixture_has_the_shares_that_the_options_allow() -> None:
    origins = np.array([OLD] * 1000 + [FEEDBACK] * 100 + [DISTANT] * 900)
    mixed = mixture(origins, old_share=0.5, weight=3, max_distant_share=0.2, seed=1)
    times = {origin: mixed.times[origins == origin].sum() for origin in (OLD, FEEDBACK, DISTANT)}
    assert times == {OLD: 500, FEEDBACK: 300, DISTANT: 200}
    assert (mixed.times[mixed.rows] > 0).all()
    assert len(mixed.rows) == 500 + 100 + 200
