"""Windows of consecutive answers of a version, each judged for drift once; safe to use from several processes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from polarity.record.schema import feedback, predictions, windows
from polarity.record.store import RecordStore

_COLUMNS = (
    "id at text probabilities score sentiment characters words unknown_share links mentions hashtags emoji script"
)


class WindowAnswer(NamedTuple):
    """An answer as the tests of drift read it; `label` is one that somebody was asked for, or imported."""

    id: str
    at: float
    text: str | None
    probabilities: dict[str, float]
    score: float
    sentiment: str
    characters: int
    words: int | None
    unknown_share: float | None
    links: int | None
    mentions: int | None
    hashtags: int | None
    emoji: int | None
    script: str | None
    label: str | None


class JudgedWindow(NamedTuple):
    """A window that was judged.

    Attributes
    ----------
    since, until : float
        Times of its first and its last answer, in seconds since 1970.
    last_id : str
        Id of its last answer.
    effect : float
        The largest statistic as a multiple of its threshold.
    """

    id: str
    version: str
    since: float
    until: float
    last_id: str
    answers: int
    effect: float
    summary: str


def last_window(store: RecordStore, version: str) -> JudgedWindow | None:
    """The latest judged window of a version; None without any."""
    query = _judged().where(windows.c.version == version).order_by(windows.c.last_id.desc()).limit(1)
    with store.engines[-1].connect() as connection:
        row = connection.execute(query).first()
    return None if row is None else JudgedWindow(*row)


def next_answers(store: RecordStore, version: str, size: int, *, at_most: int) -> list[WindowAnswer]:
    """The next complete window of a version: the `size` answers after the last window; empty if there are fewer.

    Windows do not overlap. If more than `at_most` windows wait, it is the latest `size` answers, and those before are
    never judged.
    """
    last = last_window(store, version)
    condition = predictions.c.version == version
    if last is not None:
        condition &= predictions.c.id > last.last_id  # ids begin with the time
    count = sa.select(sa.func.count()).select_from(predictions).where(condition)
    waiting = 0
    for engine in store.engines:
        with engine.connect() as connection:
            waiting += connection.scalar(count) or 0
    if waiting < size:
        return []
    late = waiting > at_most * size
    asked = (feedback.c.prediction_id == predictions.c.id) & feedback.c.origin.in_(["review", "import"])
    query = (
        sa.select(*(predictions.c[name] for name in _COLUMNS.split()), feedback.c.label)
        .select_from(predictions.join(feedback, asked, isouter=True))
        .where(condition)
        .order_by(predictions.c.id.desc() if late else predictions.c.id)
        .limit(size)
    )
    found: dict[str, WindowAnswer] = {}
    for engine in store.engines:
        with engine.connect() as connection:
            for row in connection.execute(query):
                found.setdefault(row.id, WindowAnswer._make(_decoded(row)))
    answers = [found[name] for name in sorted(found)]
    chosen = answers[-size:] if late else answers[:size]
    return chosen if len(chosen) == size else []


def note_window(store: RecordStore, window: JudgedWindow, *, announced: bool) -> bool:
    """Store a judgement; whether no other process had stored one of the same window."""
    engine = store.engines[-1]
    insert: Any = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
    with engine.begin() as connection:
        row = insert(windows).values(**window._asdict(), announced=announced).on_conflict_do_nothing()
        return connection.scalar(row.returning(windows.c.id)) is not None


def all_windows(store: RecordStore) -> list[JudgedWindow]:
    """The judged windows of all versions, in their order."""
    with store.engines[-1].connect() as connection:
        return [JudgedWindow(*row) for row in connection.execute(_judged().order_by(windows.c.last_id))]


def unannounced(store: RecordStore) -> list[JudgedWindow]:
    """The windows whose event is due, in their order."""
    query = _judged().where(windows.c.announced.is_(False)).order_by(windows.c.last_id)
    with store.engines[-1].connect() as connection:
        return [JudgedWindow(*row) for row in connection.execute(query)]


def note_announced(store: RecordStore, window: JudgedWindow) -> None:
    """Store that the event of a window has been emitted."""
    with store.engines[-1].begin() as connection:
        connection.execute(sa.update(windows).where(windows.c.id == window.id).values(announced=True))


def _judged() -> sa.Select[Any]:
    return sa.select(*(windows.c[name] for name in JudgedWindow._fields))


def _decoded(row: Sequence[Any]) -> list[Any]:
    return [json.loads(value) if place == 3 and isinstance(value, str) else value for place, value in enumerate(row)]
