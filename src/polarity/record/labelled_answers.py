"""The answers whose true labels came, with their texts, for people who look at errors."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from polarity.record.history import Span, readings, within
from polarity.record.schema import feedback, predictions
from polarity.record.store import RecordStore


class LabelledAnswer(msgspec.Struct, frozen=True):
    """An answer and its true label.

    Attributes
    ----------
    at, labelled_at : float
        Seconds since 1970.
    text : str or None
        As POLARITY_LOG_TEXTS says.
    origin : str or None
        Where the label came from: volunteered, review, queue or import.
    characters, words, unknown_share, links, mentions, hashtags, emoji, script
        The descriptors of the text, see `polarity.record.descriptors`.
    """

    prediction_id: str
    at: float
    text: str | None
    sentiment: str
    score: float
    version: str
    source: str | None
    characters: int
    words: int | None
    unknown_share: float | None
    links: int | None
    mentions: int | None
    hashtags: int | None
    emoji: int | None
    script: str | None
    label: str
    origin: str | None
    labelled_at: float


def labelled_answers(store: RecordStore, span: Span, limit: int, version: str | None = None) -> list[LabelledAnswer]:
    """The answers of a span that have a label, those with the latest labels first.

    A label that is still in the local file while the database has its prediction already is missed.

    Parameters
    ----------
    store : RecordStore
    span : Span
        Of the answers.
    limit : int
        Maximum number.
    version : str, optional
        Only answers of this version.
    """
    own = [predictions.c[name] for name in LabelledAnswer.__struct_fields__[1:-3]]
    query = (
        sa.select(predictions.c.id, *own, feedback.c.label, feedback.c.origin, feedback.c.at)
        .select_from(predictions.join(feedback, feedback.c.prediction_id == predictions.c.id))
        .where(within(predictions.c.at, span))
        .order_by(feedback.c.at.desc())
        .limit(limit)
    )
    if version is not None:
        query = query.where(predictions.c.version == version)
    found: list[LabelledAnswer] = []
    for engine, seen_once in readings(store, predictions):
        with engine.connect() as connection:
            found += [LabelledAnswer(*row) for row in connection.execute(query.where(seen_once))]
    return sorted(found, key=lambda answer: -answer.labelled_at)[:limit]
