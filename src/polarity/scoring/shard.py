"""One shard of tweets: scored, written atomically, and recognised on a later run."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from polarity.data.stream import PROBLEM, ROW
from polarity.families.packaging import load_predictor
from polarity.inference.predictor import Predictor
from polarity.scoring.tally import Tally
from polarity.text.cleaning import repair

NO_TEXT = "no text"
_KEY, _TALLY = b"polarity.key", b"polarity.tally"
# Texts per call for the logistic regression; neural models split these into their own batches.
_TEXTS_AT_ONCE = 4096
_VISIBLE = re.compile(r"[!#-~]")


@dataclass(frozen=True)
class Shard:
    """Consecutive rows of one file, and the path of their scores."""

    source: str
    """Name of the file in the result."""
    number: int
    """Index of the shard within the file, from 0."""
    path: Path
    """Parquet file of the scores."""
    key: str
    """Key of the whole scoring: the tweets, the model and the options."""

    def tally(self) -> Tally | None:
        """The counts of this shard, if the same scoring has already scored it."""
        try:
            metadata = pq.read_schema(self.path).metadata or {}
        except (OSError, pa.ArrowInvalid):
            return None
        if metadata.get(_KEY, b"").decode() != f"{self.key}/{self.source}/{self.number}":
            return None
        return Tally.from_json(metadata[_TALLY])


@dataclass(frozen=True)
class Columns:
    """The roles of the input columns."""

    text: str
    id: str | None
    date: str | None
    keep: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[str]:
        """Every column that is read, without duplicates."""
        yield from dict.fromkeys(name for name in (self.text, self.id, self.date, *self.keep) if name)


def score_shard(predictor: Predictor, model: str, table: pa.Table, columns: Columns, shard: Shard) -> Tally:
    """Score a shard and write it.

    Parameters
    ----------
    predictor : Predictor
        The model.
    model : str
        Name of the model in the result.
    table : pyarrow.Table
        Rows as yielded by `TweetFile.tables`.
    columns : Columns
        Roles of the table's columns.
    shard : Shard
        Identity and output path of the shard.

    Returns
    -------
    Tally
        The counts, which are also stored in the file.
    """
    texts = table.column(columns.text).to_pylist()
    reasons = [
        reason or (None if _has_text(text) else NO_TEXT)
        for text, reason in zip(texts, table.column(PROBLEM).to_pylist(), strict=True)
    ]
    rows = np.array([at for at, reason in enumerate(reasons) if reason is None], np.int64)
    scores = np.full((len(texts), len(predictor.labels)), np.nan, np.float32)
    for start in range(0, len(rows), _TEXTS_AT_ONCE):
        some = rows[start : start + _TEXTS_AT_ONCE]
        scores[some] = predictor([texts[row] for row in some])
    best = np.full(len(texts), -1, np.int64)
    best[rows] = scores[rows].argmax(axis=1)
    unscored = best < 0
    sentiments = [None if at < 0 else predictor.labels[at] for at in best]

    dates = table.column(columns.date).to_pylist() if columns.date else None
    tally = Tally.of(texts, sentiments, reasons, dates)
    carried = {name: table.column(name) for name in columns if name != columns.text or name in columns.keep}
    scored = pa.table(
        {
            "file": _repeated(shard.source, len(texts)),
            ROW: table.column(ROW),
            **carried,
            "sentiment": pa.array(sentiments, pa.string()),
            **{f"p_{label}": pa.array(scores[:, at], mask=unscored) for at, label in enumerate(predictor.labels)},
            "model": _repeated(model, len(texts)),
            "reason": pa.array(reasons, pa.string()),
        }
    )
    known = {_KEY: f"{shard.key}/{shard.source}/{shard.number}", _TALLY: tally.to_json()}
    _write(scored.replace_schema_metadata(known), shard.path)
    return tally


def score_with(
    folder: Path, digest: str, model: str, threads: int, table: pa.Table, columns: Columns, shard: Shard
) -> Tally:
    """Score a shard with the model in `folder`, which each process loads once.

    Parameters
    ----------
    folder : Path
        The packaged model.
    digest : str
        Digest of its manifest, so that a different model in the same folder is loaded again.
    model, table, columns, shard
        As in `score_shard`.
    threads : int
        Threads for one call of a neural model.
    """
    with _loading:  # the threads of a process share one model
        predictor = _load(folder, digest, threads)
    return score_shard(predictor, model, table, columns, shard)


_loading = threading.Lock()


@lru_cache(maxsize=1)
def _load(folder: Path, digest: str, threads: int) -> Predictor:
    return load_predictor(folder, threads=threads)


def _has_text(text: str | None) -> bool:
    # without a printable ASCII character it may consist of white space or control characters only
    return text is not None and (_VISIBLE.search(text) is not None or repair(text) != "")


def _repeated(value: str, times: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(times, np.int32)), pa.array([value]))


def _write(table: pa.Table, path: Path) -> None:
    """Write atomically: to a draft file that is synced to disk and then renamed."""
    draft = path.with_suffix(".draft")
    with draft.open("wb") as file:
        pq.write_table(table, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
