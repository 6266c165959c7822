"""Where predictions and feedback are kept: SQLite by default."""

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
# Several workers write into one file, in turns of milliseconds.
_BUSY_TIMEOUT_S = 10.0


class Row(NamedTuple):
    """One prediction as it is kept.

    `at` is in seconds since 1970 (UTC), `probabilities` by label.
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
    """A store that one thread uses; each thread opens its own."""

    def write(self, rows: Sequence[Row]) -> None:
        """Keep `rows`, all or none; rows whose id is known already are left as they are."""
        ...

    def feedback(self, prediction_id: str, label: str, at: float) -> Outcome:
        """Keep the true label of a prediction unless it has one."""
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
        # One statement for all rows: the interpreter is left alone while SQLite works, and may answer requests.
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
    """Open the store at `url`, making it if absent.

    Raises
    ------
    ConfigurationError
        If no store speaks the URL's scheme.
    """
    scheme, _, place = url.partition("://")
    if scheme == "sqlite":
        return SqliteStore(Path(place.removeprefix("/")))
    raise ConfigurationError(f"Got POLARITY_PREDICTION_LOG={url!r}; a path or sqlite:///PATH would be right.")
