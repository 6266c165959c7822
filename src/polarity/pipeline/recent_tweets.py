"""What came in since the file was made: the labelled texts of the record, and the collected tweets."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from polarity.config.settings import settings
from polarity.data.collection import Collection
from polarity.data.recent import RECENT_SCHEMA
from polarity.data.snapshot import content_digest
from polarity.record.labelled_texts import labelled_texts
from polarity.record.options import RecordOptions
from polarity.record.store import opened_record
from polarity.text.origins import FEEDBACK, ORIGIN


@dataclass(frozen=True)
class RecentTweets:
    """Recent tweets (`polarity.data.recent.RECENT_SCHEMA`), and what to know about them."""

    table: pa.Table
    remarks: tuple[str, ...]

    @property
    def digest(self) -> str:
        """The sha256 of the tweets."""
        return content_digest(self.table)


def gather() -> RecentTweets:
    """Read the record and the collection.

    Raises
    ------
    ServiceUnavailable
        If the record cannot be read: a training without its labels would look as if none had come.
    """
    remarks = []
    options = RecordOptions.read()
    feedback = RECENT_SCHEMA.empty_table()
    if not options.enabled:
        remarks.append("no labels come from production, since POLARITY_PREDICTION_LOG is off")
    else:
        with opened_record(options) as store:
            found = labelled_texts(store)
        feedback = pa.table(
            {
                "text": [text for text, _ in found.texts],
                "label": [label for _, label in found.texts],
                ORIGIN: [FEEDBACK] * len(found.texts),
            },
            schema=RECENT_SCHEMA,
        )
        if found.without_text:
            remarks.append(
                f"{found.without_text:,} labels from production have no text to learn from; the server keeps texts "
                "with POLARITY_LOG_TEXTS=masked or full"
            )
        elif not found.texts:
            remarks.append("no labels have come from production")
    folder = settings().collected_folder
    collected = Collection(folder).tweets() if folder.is_dir() else RECENT_SCHEMA.empty_table()
    if not collected.num_rows:
        remarks.append(f"nothing has been collected in {folder.name} (`python -m flows.collect`)")
    return RecentTweets(pa.concat_tables([feedback, collected]), tuple(remarks))
