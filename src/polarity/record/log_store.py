"""Storage for predictions and feedback: SQLite by default."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import msgspec

from polarity.errors import ConfigurationError

Outcome = Literal["new", "same", "other", "unknown"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS predictions (
    id TEXT PRIMARY KEY,
    at REAL NOT NULL,
    characters INTEGER NOT NULL,
    text TEXT,
    sentiment TEXT NOT NULL,
    score REAL NOT NULL,
    probabilities TEXT NOT NULL,
    family TEXT NOT NULL,
    version TEXT NOT NULL,
    bento TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS predictions_at ON predictions (at);
CREATE TABLE IF NOT EXISTS feedback (
    prediction_id TEXT PRIMARY KEY REFERENCES predictions (id),
    label TEXT NOT NULL,
    at REAL NOT NULL
) WITHOUT ROWID;
"""
_INSERT = f"""
INSERT OR IGNORE INTO predictions
SELECT {", ".join(f"json_extract(value, '$[{n}]')" for n in range(10))} FROM json_each(?)
"""
# Several workers write to the same file, each for a few milliseconds at a time.
_BUSY_TIMEOUT_S = 10.0


class Row(NamedTuple):
    """One stored prediction.

    `at` is in seconds since 1970 (UTC); `probabilities` is keyed by label.
    """

    id: str
    at: float
    characters: int
    text: str | None
    sentiment: str
    score: float
    probabilities: dict[str, float]
    family: str
    version: str
    bento: str


class LogStore(Protocol):
    """A store used by a single thread; each thread opens its own."""

    def write(self, rows: Sequence[Row]) -> None:
        """Store all of `rows` or none; rows whose id already exists are left unchanged."""
        ...

    def feedback(self, prediction_id: str, label: str, at: float) -> Outcome:
        """Store the true label of a prediction unless it already has one."""
        ...

    def close(self) -> None: ...


class SqliteStore:
    """Predictions and feedback in one SQLite file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(_SCHEMA)

    def write(self, rows: Sequence[Row]) -> None:
        # One statement for all rows: SQLite releases the GIL meanwhile, so the server keeps answering requests.
        with self._connection:
            self._connection.execute(_INSERT, (msgspec.json.encode(rows).decode(),))

    def feedback(self, prediction_id: str, label: str, at: float) -> Outcome:
        with self._connection:
            added = self._connection.execute(
                "INSERT OR IGNORE INTO feedback SELECT id, ?, ? FROM predictions WHERE id = ?",
                (label, at, prediction_id),
            ).rowcount
        if added:
            return "new"
        known = self._connection.execute(
            "SELECT label FROM feedback WHERE prediction_id = ?", (prediction_id,)
        ).fetchone()
        if known is None:
            return "unknown"
        return "same" if known[0] == label else "other"

    def close(self) -> None:
        self._connection.close()


def open_store(url: str) -> LogStore:
    """Open the store at `url`, creating it if it does not exist.

    Raises
    ------
    ConfigurationError
        If the URL's scheme is not supported.
    """
    scheme, _, path = url.partition("://")
    if scheme == "sqlite":
        return SqliteStore(Path(path.removeprefix("/")))
    raise ConfigurationError(f"Got POLARITY_PREDICTION_LOG={url!r}; use a path, sqlite:///PATH or off.")
