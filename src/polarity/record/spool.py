"""The local SQLite file: the log itself, or what a database does not have yet."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import sqlalchemy as sa

from polarity.errors import ServiceUnavailable
from polarity.record.answer import Answer, Mirrored, Served, Traffic
from polarity.record.descriptors import describe, mask
from polarity.record.migration import migrate
from polarity.record.options import Texts
from polarity.record.schema import mirrored, predictions, traffic
from polarity.text.words import KnownWords

# Several processes write to the same file, each for a few milliseconds at a time.
BUSY_TIMEOUT_S = 10.0
_BUSY_PAUSE_S = 0.01
_MODE = 0o600
# Of a full log without a database, the parts that go to make room for the next rows, until these fit.
_EVICTED_SHARES = (0.02, 0.05, 0.1, 0.5)


def local_engine(path: Path) -> sa.Engine:
    """An engine for the file at `path`, which is created for its owner only and migrated.

    Raises
    ------
    OSError, sqlalchemy.exc.SQLAlchemyError
        If the file cannot be opened or migrated.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(_MODE, exist_ok=True)
    engine = sa.create_engine(
        f"sqlite:///{path}",
        connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False},
        poolclass=sa.NullPool,
    )
    sa.event.listen(engine, "connect", _configure)
    migrate(engine)
    return engine


def connect(path: Path) -> sqlite3.Connection:
    """The driver's own connection to the file at `path`, see `local_engine`; to be closed by the caller."""
    connection = local_engine(path).raw_connection()
    driver: sqlite3.Connection = connection.driver_connection  # type: ignore[assignment]
    connection.detach()
    return driver


def _configure(connection: sqlite3.Connection, _record: object) -> None:
    # A committed row survives any end of the processes; NORMAL does not wait for the disk, so a power failure may take
    # the last moments.
    _use_write_ahead_log(connection)
    connection.execute("PRAGMA synchronous=NORMAL")


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    # Changing the mode of a new file fails at once while another thread or process reads it: SQLite's own timeout does
    # not cover it.
    until = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_BUSY_PAUSE_S)
        else:
            return


class Spool:
    """The local file, used by a single thread.

    Parameters
    ----------
    path : Path
    served : Served
        The model that gives the answers.
    texts : str
        Which texts are kept: `off`, `masked` or `full`.
    limit_bytes : int
        Maximum size of the file, without its write-ahead log.
    evict : bool
        Whether a full file lets its oldest rows go; otherwise it accepts no more.
    """

    def __init__(self, path: Path, *, served: Served, texts: Texts, limit_bytes: int, evict: bool) -> None:
        self.path = path
        self._served = served
        self._known: dict[str | None, KnownWords | None] = {None: None}
        kept: dict[Texts, Callable[[str], str | None]] = {"off": _no_text, "masked": mask, "full": str}
        self._text = kept[texts]
        self._evict = evict
        self.evicted = 0
        self._connection = connect(path)
        (self._page_bytes,) = self._connection.execute("PRAGMA page_size").fetchone()
        self._max_pages = max(64, limit_bytes // self._page_bytes)
        self._connection.execute(f"PRAGMA max_page_count={self._max_pages}")

    def write(self, answers: Sequence[Answer], minutes: Sequence[Traffic] = (), pairs: Sequence[Mirrored] = ()) -> None:
        """Store all rows in one transaction, or none; those whose id already exists are left unchanged.

        Raises
        ------
        ServiceUnavailable
            If they cannot be stored; the message says why.
        """
        rows = [self._row(answer) for answer in answers]
        counts: list[tuple[object, ...]] = [
            (
                *(m.id, m.minute, m.requests, m.errors, m.refused, m.overloaded),
                msgspec.json.encode(m.seconds).decode(),
                m.bento or self._served.bento,
                *(m.challenged, m.covered, msgspec.json.encode(m.challenger_seconds).decode()),
            )
            for m in minutes
        ]
        try:
            for share in (*(_EVICTED_SHARES if self._evict else ()), 0.0):
                try:
                    self._insert(rows, counts, [msgspec.structs.astuple(pair) for pair in pairs])
                except sqlite3.OperationalError as error:
                    if not (share and self._is_full(error)):
                        raise
                    self._make_room(share)
                else:
                    return
        except sqlite3.Error as error:
            raise ServiceUnavailable(f"{self.path}: {error}") from error

    def _insert(
        self, rows: list[tuple[object, ...]], counts: list[tuple[object, ...]], pairs: list[tuple[object, ...]]
    ) -> None:
        with self._connection:
            self._connection.executemany(_INSERT_PREDICTION, rows)
            if counts:
                self._connection.executemany(_INSERT_TRAFFIC, counts)
            if pairs:
                self._connection.executemany(_INSERT_MIRRORED, pairs)

    def _row(self, answer: Answer) -> tuple[object, ...]:
        text = answer.text
        served = answer.served or self._served
        described = describe(text, self._words(served.known_words))
        return (
            answer.id,
            answer.at,
            described.characters,
            # PostgreSQL stores no NUL.
            kept.replace("\0", "\ufffd") if (kept := self._text(text)) else kept,
            answer.sentiment,
            answer.score,
            msgspec.json.encode(answer.probabilities).decode(),
            served.family,
            served.version,
            served.bento,
            answer.source,
            answer.waited_s,
            answer.computed_s,
            *described[1:],
            answer.draw_probability,
            answer.drawn,
        )

    def _words(self, path: str | None) -> KnownWords | None:
        if path not in self._known:
            self._known[path] = KnownWords.read(Path(path)) if path else None
        return self._known[path]

    @property
    def bytes_used(self) -> int:
        """Size of the file's content; freed pages are reused and do not count."""
        (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
        (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        return int((pages - free) * self._page_bytes)

    def _is_full(self, error: sqlite3.OperationalError) -> bool:
        """Whether the file has reached its limit; SQLite reports a full disk by the same error."""
        return (
            error.sqlite_errorcode == sqlite3.SQLITE_FULL and self.bytes_used > 0.9 * self._max_pages * self._page_bytes
        )

    def _make_room(self, share: float) -> None:
        (rows,) = self._connection.execute("SELECT count(*) FROM predictions").fetchone()
        count = math.ceil(share * rows)
        with self._connection:
            # Ids begin with the time.
            (last,) = self._connection.execute(
                "SELECT max(id) FROM (SELECT id FROM predictions ORDER BY id LIMIT ?)", (count,)
            ).fetchone()
            self._connection.execute("DELETE FROM mirrored WHERE prediction_id <= ?", (last,))
            self._connection.execute("DELETE FROM feedback WHERE prediction_id <= ?", (last,))
            self._connection.execute("DELETE FROM predictions WHERE id <= ?", (last,))
        self.evicted += count

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _no_text(_text: str) -> None:
    return None


def _insert_into(table: sa.Table) -> str:
    marks = ", ".join("?" * len(table.columns))
    return f"INSERT OR IGNORE INTO {table.name} ({', '.join(table.columns.keys())}) VALUES ({marks})"


_INSERT_PREDICTION, _INSERT_TRAFFIC = _insert_into(predictions), _insert_into(traffic)
_INSERT_MIRRORED = _insert_into(mirrored)
