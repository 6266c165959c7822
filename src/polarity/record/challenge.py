"""Where the challenger is, and how much is mirrored to it: one row of the record, changed in one commit."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from polarity.record.answer import Challenge
from polarity.record.canary import CanaryState
from polarity.record.options import RecordOptions
from polarity.record.schema import challenge
from polarity.record.store import RecordStore

_logger = logging.getLogger("bentoml.polarity")

_POLL_S = 1.0
_PAUSE_S = 5.0
_ROW = 1


class ChallengeSet(msgspec.Struct, frozen=True):
    """A challenge as it was set: by whom, when (seconds since 1970), and why; and how far its canary has come."""

    challenge: Challenge
    at: float
    by: str
    reason: str
    canary: CanaryState = CanaryState()
    revision: int = 0


def set_challenge(store: RecordStore, given: ChallengeSet) -> None:
    """Set the challenge, for all servers with this record; they follow within seconds."""
    engine = store.engines[-1]
    insert: Any = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
    row = {
        "address": given.challenge.address,
        "share": given.challenge.share,
        "at": given.at,
        "by": given.by,
        "reason": given.reason,
        "canary": _column(engine, given.canary),
    }
    with engine.begin() as connection:
        added = insert(challenge).values(id=_ROW, revision=1, **row)
        following = {**row, "revision": challenge.c.revision + 1}
        connection.execute(added.on_conflict_do_update(index_elements=["id"], set_=following))


def move_canary(store: RecordStore, found: ChallengeSet, canary: CanaryState) -> bool:
    """Change the state of the canary, unless the challenge has been changed since it was read.

    Returns
    -------
    bool
        Whether it was changed: what a person says meanwhile stands.
    """
    engine = store.engines[-1]
    mine = (challenge.c.id == _ROW) & (challenge.c.revision == found.revision)
    changed = sa.update(challenge).where(mine)
    with engine.begin() as connection:
        done = connection.execute(changed.values(canary=_column(engine, canary), revision=found.revision + 1))
    return done.rowcount == 1


def read_challenge(store: RecordStore) -> ChallengeSet | None:
    """The challenge, or None if none was ever set."""
    with store.engines[-1].connect() as connection:
        row = connection.execute(sa.select(challenge).where(challenge.c.id == _ROW)).one_or_none()
    if row is None:
        return None
    canary = CanaryState()
    if row.canary is not None:
        given = json.loads(row.canary) if isinstance(row.canary, str) else row.canary
        canary = msgspec.convert(given, CanaryState)
    # A promoted challenger is the served model, so there is nothing left to compare.
    share = row.share if canary.phase != "promoted" else 0.0
    wanted = Challenge(row.address, share, canary.clients if row.address else 0.0, canary.version)
    return ChallengeSet(wanted, row.at, row.by, row.reason, canary, row.revision)


def _column(engine: sa.Engine, canary: CanaryState) -> object:
    """The state as the column takes it: text in SQLite, an object in PostgreSQL."""
    given = msgspec.to_builtins(canary)
    return given if engine.dialect.name == "postgresql" else json.dumps(given)


class ChallengeWatch:
    """A thread that reads the challenge once a second; while the record is away, the last one stands."""

    def __init__(self, options: RecordOptions) -> None:
        self.current: Challenge | None = None
        self._options = options
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="challenge", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        store: RecordStore | None = None
        away = False
        while True:
            try:
                if store is None or not self._options.local_file.exists():
                    # Only this creates a missing file for its owner alone.
                    store = RecordStore(self._options)
                found = read_challenge(store)
                self.current = found.challenge if found else None
                away = False
            except Exception as error:
                if not away:
                    _logger.warning("The challenge could not be read (%s); the last one stands.", type(error).__name__)
                away = True
            if self._stopping.wait(_PAUSE_S if away else _POLL_S):
                break
        if store is not None:
            store.close()

    def close(self) -> None:
        """Stop."""
        self._stopping.set()
