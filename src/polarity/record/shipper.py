"""Move rows from the local file to the database: each exactly once, after any outage or kill.

A batch is committed in the database before it is deleted from the file. A kill between the two ships it again, and the
primary keys make that harmless.
"""

from __future__ import annotations

import fcntl
import logging
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import sqlalchemy as sa

from polarity.config.credentials import redacted
from polarity.record.migration import migrate
from polarity.record.schema import feedback, mirrored, predictions, traffic
from polarity.record.spool import connect

_logger = logging.getLogger("bentoml.polarity")

ROWS_PER_BATCH = 1_000
_IDLE_S = 0.5
# Counting a backlog of some 100,000 rows takes as long as shipping a batch of it.
_MEASURE_S = 1.0
_MAX_PAUSE_S = 10.0
_LEASE_S = 1.0
_CONNECT_TIMEOUT_S = 5
# A peer that vanished without closing the connection is noticed within this time.
_SILENCE_S = 20


def database_engine(url: str) -> sa.Engine:
    """An engine for the database at `url`, whose connections notice a peer that has gone."""
    return sa.create_engine(
        url,
        connect_args={
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 2,
            "tcp_user_timeout": _SILENCE_S * 1000,
            "application_name": "polarity",
        },
        pool_pre_ping=True,
        pool_size=2,
    )


class Shipper:
    """A thread that ships the rows of one local file; of several processes with the same file, one ships.

    Parameters
    ----------
    path : Path
        The local file.
    url : str
        SQLAlchemy URL of the database.

    Attributes
    ----------
    problem : str or None
        Why the database cannot be used, without its password.
    unshipped, unshipped_s : int, float
        Rows that the database does not have, and the age of the oldest in seconds.
    """

    def __init__(self, path: Path, url: str) -> None:
        self._path = path
        self._url = url
        self._engine = database_engine(url)
        self._stopping = threading.Event()
        self.problem: str | None = None
        self.unshipped = 0
        self.unshipped_s = 0.0
        self._measured_at = float("-inf")
        self._thread = threading.Thread(target=self._run, name="shipper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ship what is left if the database answers, then stop."""
        self._stopping.set()
        self._thread.join(timeout=_MAX_PAUSE_S)

    def _run(self) -> None:
        with self._path.with_name(f"{self._path.name}.shipping").open("w") as lease:
            while not _acquired(lease):
                if self._stopping.wait(_LEASE_S):
                    return
            self._ship_until_stopped()

    def _ship_until_stopped(self) -> None:
        pause_s = _IDLE_S
        migrated = False
        local: sqlite3.Connection | None = None
        while True:
            try:
                if local is None:
                    local = connect(self._path)
                if pause_s or time.monotonic() - self._measured_at >= _MEASURE_S:
                    self._measure(local)
                if not migrated:
                    migrate(self._engine)
                    migrated = True
                more = self._ship(local)
                if self.problem is not None:
                    _logger.warning("The database takes rows of the record again; %d are waiting.", self.unshipped)
                    self.problem = None
                pause_s = 0.0 if more else _IDLE_S
            except Exception as error:
                if self.problem is None:
                    _logger.warning(
                        "The database does not take the record's rows (%s); they wait in '%s'.",
                        driver_message(error, self._url),
                        self._path,
                    )
                self.problem = driver_message(error, self._url)
                self._engine.dispose()
                if local is not None and isinstance(error, sqlite3.Error):
                    with suppress(sqlite3.Error):
                        local.close()
                    local = None
                pause_s = min(max(_IDLE_S, 2 * pause_s), _MAX_PAUSE_S)
                if self._stopping.is_set():
                    return
            if self._stopping.wait(pause_s) and pause_s:
                if local is not None:
                    with suppress(Exception):
                        while self._ship(local):
                            pass
                return

    def _ship(self, local: sqlite3.Connection) -> bool:
        """Ship one batch of each table; return whether there is more."""
        more = [self._ship_tables(local, tables) for tables in _TABLES]
        if not any(more):
            self._measure(local)
        return any(more)

    def _ship_tables(self, local: sqlite3.Connection, tables: Sequence[sa.Table]) -> bool:
        batches = {table: local.execute(_select(table), (ROWS_PER_BATCH,)).fetchone() for table in tables}
        if not any(count for count, _, _ in batches.values()):
            return False
        with self._engine.begin() as connection:
            for table, (count, rows, _) in batches.items():
                if count:
                    connection.execute(_insert(table), {"rows": rows})
        with local:
            for table, (count, _, ids) in batches.items():
                if count:
                    local.execute(_delete(table), (ids,))
        return any(count == ROWS_PER_BATCH for count, _, _ in batches.values())

    def _measure(self, local: sqlite3.Connection) -> None:
        self.unshipped, oldest = local.execute("SELECT count(*), min(at) FROM predictions").fetchone()
        self.unshipped_s = max(0.0, time.time() - oldest) if oldest is not None else 0.0
        self._measured_at = time.monotonic()


# What refers to predictions goes after them, and only when they have left the file: a row whose prediction the database
# does not have is taken for one of a forgotten prediction.
_TABLES = ((predictions, traffic), (feedback, mirrored))


def _select(table: sa.Table) -> str:
    """The number of rows, the rows as a JSON array, and their ids: SQLite builds all of it without the GIL."""
    key = ", ".join(column.name for column in table.primary_key.columns)
    fields = ", ".join(f"'{c.name}', {_as_json(c)}" for c in table.columns)
    left = f"WHERE NOT EXISTS (SELECT 1 FROM predictions AS p WHERE p.id = {table.name}.prediction_id)"
    return (
        f"SELECT count(*), json_group_array(json_object({fields})), json_group_array(json_array({key})) "
        f"FROM (SELECT * FROM {table.name} {left if table.foreign_keys else ''} ORDER BY {key} LIMIT ?)"
    )


def _as_json(column: sa.Column[object]) -> str:
    if column.name in ("probabilities", "seconds", "challenger_seconds"):
        return f"json({column.name})"
    if isinstance(column.type, sa.Boolean):
        return f"json(CASE {column.name} WHEN 1 THEN 'true' WHEN 0 THEN 'false' ELSE 'null' END)"
    return column.name


def _insert(table: sa.Table) -> sa.TextClause:
    # A prediction that has been forgotten takes no label any more, and no answer of a challenger.
    known = "WHERE EXISTS (SELECT 1 FROM predictions AS p WHERE p.id = r.prediction_id)" if table.foreign_keys else ""
    columns = ", ".join(table.columns.keys())
    return sa.text(
        f"INSERT INTO {table.name} ({columns}) SELECT {columns} "
        f"FROM json_populate_recordset(NULL::{table.name}, CAST(:rows AS json)) AS r {known} ON CONFLICT DO NOTHING"
    )


def _delete(table: sa.Table) -> str:
    key = [column.name for column in table.primary_key.columns]
    values = ", ".join(f"json_extract(value, '$[{n}]')" for n in range(len(key)))
    return f"DELETE FROM {table.name} WHERE ({', '.join(key)}) IN (SELECT {values} FROM json_each(?))"


def _acquired(lease: IO[str]) -> bool:
    try:
        fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def driver_message(error: Exception, url: str | None) -> str:
    """The driver's message on one line; it names the host of the database at `url`, never the password."""
    original = getattr(error, "orig", None) or error
    return redacted(" ".join(str(original).split()), *([url] if url else []))
