"""The recorded texts whose true labels came, to learn from."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from polarity.record.schema import feedback, predictions
from polarity.record.store import RecordStore


class LabelledTexts(NamedTuple):
    """Texts with labels, by id, and the number of labels whose text was not recorded."""

    texts: list[tuple[str, str]]
    without_text: int


def labelled_texts(store: RecordStore) -> LabelledTexts:
    """The (text, label) pairs of the record, each prediction once, in the order of their ids.

    A prediction that is being shipped may be in the local file and in the database: it counts once. So does a label
    that is still in the file while its prediction is in the database.
    """
    texts: dict[str, str | None] = {}
    labels: dict[str, str] = {}
    for engine in reversed(store.engines):
        with engine.connect() as connection:
            labels.update(connection.execute(sa.select(feedback.c.prediction_id, feedback.c.label)).tuples().all())
    ids = sorted(labels)
    for engine in reversed(store.engines):
        with engine.connect() as connection:
            for start in range(0, len(ids), 500):
                query = sa.select(predictions.c.id, predictions.c.text)
                part = query.where(predictions.c.id.in_(ids[start : start + 500]))
                texts.update(connection.execute(part).tuples().all())
    found = [(text, labels[name]) for name in ids if (text := texts.get(name))]
    return LabelledTexts(found, len(ids) - len(found))
