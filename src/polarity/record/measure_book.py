"""Estimates of the monitor, hour by hour, so that others can show them without estimating again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from polarity.record.history import SECONDS_PER_HOUR, Span
from polarity.record.schema import measures
from polarity.record.store import RecordStore


class NotedMeasure(msgspec.Struct, frozen=True):
    """A measure as it was read; the attributes are those of `polarity.watch.measure.Measure`.

    Attributes
    ----------
    version : str
        Of the model that it is about.
    since, until : float
        What it is of, in seconds since 1970.
    """

    name: str
    source: str
    version: str
    since: float
    until: float
    value: float
    low: float | None
    high: float | None
    of: int
    method: str


def note_measures(store: RecordStore, given: Sequence[NotedMeasure]) -> None:
    """Store measures; of each hour the last one stays."""
    if not given:
        return
    engine = store.engines[-1]
    insert: Any = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
    keys = ("name", "source", "version", "hour")
    rows = [{**msgspec.structs.asdict(one), "hour": int(one.until // SECONDS_PER_HOUR)} for one in given]
    added = insert(measures)
    changed = {name: added.excluded[name] for name in NotedMeasure.__struct_fields__ if name not in keys}
    with engine.begin() as connection:
        connection.execute(added.on_conflict_do_update(index_elements=list(keys), set_=changed), rows)


def noted_measures(store: RecordStore, span: Span) -> list[NotedMeasure]:
    """The measures that were read within a span, in the order of their times."""
    columns = [measures.c[name] for name in NotedMeasure.__struct_fields__]
    within = (measures.c.until >= span.since) & (measures.c.until < span.until)
    with store.engines[-1].connect() as connection:
        found = connection.execute(sa.select(*columns).where(within).order_by(measures.c.until))
        return [NotedMeasure(*row) for row in found]
