"""The tweets of a file together with what came in since: labels from production and collected tweets."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from polarity.data.emoticons import LabelNoise
from polarity.data.splits import text_keys
from polarity.text.cleaning import repair
from polarity.text.origins import COLLECTED, DISTANT, FEEDBACK, OLD, ORIGIN

RECENT_SCHEMA = pa.schema([("text", pa.string()), ("label", pa.string()), (ORIGIN, pa.string())])
_RANK = {FEEDBACK: 0, COLLECTED: 1, DISTANT: 2}


@dataclass(frozen=True)
class Merged:
    """The tweets of a file, then the recent ones that are not among them.

    Attributes
    ----------
    table : pyarrow.Table
        The file's columns and `_origin`.
    origins : dict
        Number of rows by origin.
    left_out : dict
        Number of recent rows that were left out, by reason.
    noise : LabelNoise
        Of labels by emoticon.
    """

    table: pa.Table
    origins: dict[str, int]
    left_out: dict[str, int]
    noise: LabelNoise


def merge(old: pa.Table, recent: pa.Table, *, first_row: int) -> Merged:
    """Append the recent tweets to those of a file, each text once.

    The file's label stands: one volunteered label must not take a tweet out of the test set. A person's label stands
    against one by emoticon. Contradictions among people's recent labels are left to the preparation, which sets all
    tweets of that text aside.

    Parameters
    ----------
    old : pyarrow.Table
        `row`, `text`, `label` and any other columns.
    recent : pyarrow.Table
        With the columns of `RECENT_SCHEMA`.
    first_row : int
        Number of the first recent row.
    """
    frame = recent.to_pandas()
    frame["key"] = text_keys([repair(text) for text in frame["text"]])
    frame = frame.iloc[frame[ORIGIN].map(_RANK).argsort(kind="stable")]
    texts = old.column("text").to_pylist()
    known = pd.Series(old.column("label").to_pylist(), index=text_keys([repair(text or "") for text in texts]))
    known = known[~known.index.duplicated()]

    there = frame["key"].isin(known.index)
    contradicts = there & (frame["key"].map(known) != frame["label"])
    by_people = set(frame.loc[frame[ORIGIN] != DISTANT, "key"])
    again = ~there & frame.duplicated(["key", "label"])
    weaker = ~there & ~again & (frame[ORIGIN] == DISTANT) & frame["key"].isin(by_people)
    left_out = {
        "the file has the text": int((there & ~contradicts).sum()),
        "the file has the text with a different label": int(contradicts.sum()),
        "the same text and label came before": int(again.sum()),
        "a person labelled the same text": int(weaker.sum()),
    }
    new = frame[~(there | again | weaker)]
    labelled = frame[frame[ORIGIN] != DISTANT]
    noise = LabelNoise.measure(
        [
            *zip(texts, old.column("label").to_pylist(), strict=True),
            *zip(labelled["text"], labelled["label"], strict=True),
        ]
    )
    added = pa.table(
        {
            "row": np.arange(first_row, first_row + len(new), dtype=np.int64),
            **{name: pa.array(new[name], pa.string()) for name in RECENT_SCHEMA.names},
        }
    )
    mine = old.drop_columns(ORIGIN) if ORIGIN in old.column_names else old
    mine = mine.append_column(ORIGIN, pa.array([OLD] * len(mine), pa.string()))
    table = pa.concat_tables([mine, added], promote_options="default")
    return Merged(
        table,
        dict(Counter(table.column(ORIGIN).to_pylist())),
        {reason: count for reason, count in left_out.items() if count},
        noise,
    )
