"""True labels from a file, for predictions that were recorded."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from polarity.config.sections import LabelFileConfig
from polarity.data.columns import LABEL_NAMES, TEXT_NAMES, find_column, label_mapping, normalise_label
from polarity.data.files import find_files
from polarity.data.stream import PROBLEM, TweetFile
from polarity.errors import ConfigurationError, DataRejected
from polarity.record.answer import Origin, Outcome
from polarity.record.descriptors import mask
from polarity.record.store import RecordStore

ID_NAMES = ("prediction_id", "predictionid", "prediction")
_ROWS_PER_STEP = 2_000
_log = logging.getLogger(__name__)


@dataclass
class LabelImport:
    """What became of the rows of a file: every row is counted once.

    Attributes
    ----------
    stored : int
        Rows that gave at least one prediction its label.
    known : int
        Rows whose predictions had that label already.
    left_out : Counter
        The other rows, by reason.
    examples : dict
        For each reason, the number of the first row in the file.
    predictions : int
        Predictions that got a label: more than `stored` if texts were answered several times.
    """

    source: str
    matched_by: str
    rows: int = 0
    stored: int = 0
    known: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    examples: dict[str, int] = field(default_factory=dict)
    predictions: int = 0

    def leave_out(self, row: int, reason: str) -> None:
        """Count a row that gives no label."""
        self.left_out[reason] += 1
        self.examples.setdefault(reason, row)


@dataclass(frozen=True)
class _LabelColumns:
    """A file with its columns of the label and of what says which predictions a row is about: their id or text."""

    file: TweetFile
    label: str
    key: str
    by_id: bool

    @classmethod
    def of(cls, path: Path, config: LabelFileConfig) -> _LabelColumns:
        file = TweetFile(path, config)
        label = find_column(file.columns, config.label_column, LABEL_NAMES, role="label", source=str(path))
        return cls(file, label, *_key_column(file, config, str(path)))

    def __str__(self) -> str:
        return f"the {'id' if self.by_id else 'text'} in the column {self.key!r}"


def import_labels(
    config: LabelFileConfig, store: RecordStore, labels: tuple[str, ...] = (), origin: Origin = "import"
) -> LabelImport:
    """Store the labels of a file for the predictions that its rows name by id, or by text.

    The same file again changes nothing. A text gives its label to every prediction whose stored text it is.

    Parameters
    ----------
    config : LabelFileConfig
    store : RecordStore
    labels : tuple of str
        The class set. Default: that of the latest recorded prediction.
    origin : str
        Kept with the labels.

    Raises
    ------
    ConfigurationError, DataRejected
        If the file cannot be read, has neither ids nor texts, or if no prediction is recorded.
    """
    if config.path is None:
        raise ConfigurationError(
            "There are no labels to read; set --data.path to a file (CSV, TSV, JSON, Parquet or Excel) or a folder of "
            "files."
        )
    files = find_files(config.path)
    for remark in files.remarks():
        _log.warning("%s", remark)
    labels = labels or store.labels()
    if not labels:
        raise DataRejected("The record holds no prediction yet, so there is nothing that the labels could belong to.")
    source = files.source
    opened = [_LabelColumns.of(path, config) for path in files.files.values()]
    counts = Counter(
        label
        for one in opened
        for table in one.file.tables(one.label)
        for label in table.column(one.label).to_pylist()
        if label
    )
    mapping = label_mapping(config.label_map, labels, counts, source=source)
    done = LabelImport(source, " or ".join(dict.fromkeys(map(str, opened))))
    now = time.time()
    for by_id, rows in ((one.by_id, rows) for one in opened for rows in _steps(one)):
        given: dict[int, tuple[str, str]] = {}
        for problem, key, label in rows:
            done.rows += 1
            row = done.rows  # counts through all files
            if problem is not None:
                done.leave_out(row, "it could not be read")
            elif key is None or not key.strip():
                done.leave_out(row, f"the {'prediction id' if by_id else 'text'} is missing")
            elif label is None or not label.strip():
                done.leave_out(row, "the label is missing")
            elif (meaning := mapping.get(normalise_label(label), "")) not in labels:
                done.leave_out(row, f"the label {label[:40]!r} is none of {list(labels)}")
            else:
                given[row] = (key.strip() if by_id else key, meaning)
        _store(given, store, done, by_id=by_id, at=now, origin=origin)
    return done


def _store(
    given: dict[int, tuple[str, str]],
    store: RecordStore,
    done: LabelImport,
    *,
    by_id: bool,
    at: float,
    origin: Origin,
) -> None:
    ids = {key: [key] for key, _ in given.values()} if by_id else _matches([key for key, _ in given.values()], store)
    wanted: dict[str, str] = {}
    contradicted: set[int] = set()
    for row, (key, label) in given.items():
        # Of two rows that contradict each other, the first counts, as everywhere in the record.
        if any(wanted.setdefault(name, label) != label for name in ids.get(key, ())):
            contradicted.add(row)
    outcomes = store.add_labels(wanted, at, origin)
    done.predictions += sum(outcome == "new" for outcome in outcomes.values())
    fresh = {name for name, outcome in outcomes.items() if outcome == "new"}
    for row, (key, _) in given.items():
        found: set[Outcome] = {outcomes[name] for name in ids.get(key, ())} - {"unknown"}
        if not found:
            done.leave_out(row, "no recorded prediction has this " + ("id" if by_id else "text"))
        elif row in contradicted or found == {"other"}:
            done.leave_out(row, "the prediction already has a different label")
        elif fresh.intersection(ids[key]):
            done.stored += 1
            fresh.difference_update(ids[key])
        else:
            done.known += 1


def _matches(texts: list[str], store: RecordStore) -> dict[str, list[str]]:
    """The predictions of each text, whether the record holds texts as they were or masked."""
    masked = {text: mask(text) for text in texts}
    stored = store.ids_by_text(sorted({*texts, *masked.values()}))
    return {
        text: sorted({*stored.get(text, ()), *stored.get(hidden, ())})
        for text, hidden in masked.items()
        if text in stored or hidden in stored
    }


def _steps(one: _LabelColumns) -> Iterator[list[tuple[str | None, str | None, str | None]]]:
    for table in one.file.tables(*dict.fromkeys((one.key, one.label))):
        for start in range(0, table.num_rows, _ROWS_PER_STEP):
            part: pa.Table = table.slice(start, _ROWS_PER_STEP)
            yield list(zip(*(part.column(name).to_pylist() for name in (PROBLEM, one.key, one.label)), strict=True))


def _key_column(file: TweetFile, config: LabelFileConfig, source: str) -> tuple[str, bool]:
    """The column that says which predictions a row is about, and whether it holds ids."""
    if config.text_column is None:
        by_lower = {column.strip().lower(): column for column in reversed(file.columns)}
        usual = next((by_lower[name] for name in ID_NAMES if name in by_lower), None)
        if config.id_column is not None or usual is not None:
            wanted = config.id_column or usual
            return find_column(file.columns, wanted, ID_NAMES, role="prediction id", source=source), True
    return find_column(file.columns, config.text_column, TEXT_NAMES, role="text", source=source), False
