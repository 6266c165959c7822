"""Split accepted tweets into train, validation and test without leakage."""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from polarity.config.sections import PreparationConfig
from polarity.data.snapshot import Snapshot, content_digest
from polarity.errors import ArtifactError
from polarity.text.cleaning import repair
from polarity.text.origins import DISTANT, ORIGIN
from polarity.text.segmentation import MARKS
from polarity.text.tweets import Tweets

SplitName = Literal["train", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "validation", "test")
SPLITS_FILE = "splits.json"
CONFLICTS_FILE = "conflicts.parquet"

_LINK = re.compile(r"(?:https?://|www\.)\S+")
_MENTION = re.compile(r"@\w+")
_NOT_WORD = re.compile(rf"(?:(?![{MARKS}])[\W_])+")


@dataclass(frozen=True)
class Splits:
    """A folder with a Parquet file for each split (columns `text`, `label`, `key` and those of the source)."""

    folder: Path
    labels: tuple[str, ...]
    digests: dict[str, str]
    """The sha256 of each split's rows."""
    rows: dict[str, int]
    set_aside: int
    """Number of rows whose text has a different label elsewhere or is blank after repair."""

    def path(self, split: SplitName) -> Path:
        """Return the Parquet file of one split."""
        return self.folder / f"{split}.parquet"

    @property
    def conflicts(self) -> Path:
        """Parquet file of the rows that were set aside, with a column `reason`."""
        return self.folder / CONFLICTS_FILE

    def read(self, split: SplitName) -> Tweets:
        """Read one split as texts and label indices."""
        return Tweets.read(self.path(split), self.labels)


def normalise(text: str) -> str:
    """Normalise a text for duplicate detection: lower-case words, with placeholders for links and mentions.

    A text without words (emoticons, emoji) is only lower-cased; otherwise all such tweets would be duplicates.
    """
    lowered = html.unescape(text).lower()
    words = _NOT_WORD.sub(" ", _MENTION.sub(" atuser ", _LINK.sub(" weblink ", lowered))).strip()
    return words if words.replace("atuser", "").replace("weblink", "").strip() else lowered


def with_keys(table: pa.Table) -> pa.Table:
    """Add the column `key`, a digest of the normalised `text`: equal for near-identical texts.

    A column of the source with that name is replaced.
    """
    keys = text_keys(table.column("text").to_pylist())
    others = table.drop_columns("key") if "key" in table.column_names else table
    return others.append_column("key", pa.array(keys, pa.string()))


def text_keys(texts: Sequence[str]) -> list[str]:
    """Return the digests of the normalised texts, in their order."""
    return [hashlib.blake2b(normalise(text).encode("utf-8", "replace"), digest_size=12).hexdigest() for text in texts]


def prepare(accepted: Snapshot, config: PreparationConfig, folder: Path) -> Splits:
    """Repair the texts, set conflicts aside, and split by a hash of the normalised text.

    A row stays in its split when data is added, and texts that differ only in case, links, mentions or
    punctuation are always in the same split.

    Parameters
    ----------
    accepted : Snapshot
        Rows that passed the gate.
    config : PreparationConfig
        Shares and salt.
    folder : Path
        Output folder.
    """
    table = accepted.read()
    texts = [repair(text) for text in table.column("text").to_pylist()]
    table = with_keys(table.set_column(table.column_names.index("text"), "text", pa.array(texts, pa.string())))
    del texts

    fractions = _hash_fractions(table.column("key").to_pylist(), config.salt)
    edge = config.test_share + config.validation_share
    of = np.where(fractions < config.test_share, "test", np.where(fractions < edge, "validation", "train"))

    reason = _conflicts(table)
    if ORIGIN in table.column_names:
        distant = table.column(ORIGIN).to_numpy(zero_copy_only=False) == DISTANT
        reason[distant & (of != "train") & (reason == "")] = "nothing is measured on labels by emoticon"
    folder.mkdir(parents=True, exist_ok=True)
    bad = reason != ""
    pq.write_table(
        table.filter(pa.array(bad)).append_column("reason", pa.array(reason[bad], pa.string())), folder / CONFLICTS_FILE
    )
    table, of = table.filter(pa.array(~bad)), of[~bad]

    digests: dict[str, str] = {}
    rows: dict[str, int] = {}
    for split in SPLIT_NAMES:
        part = table.filter(pa.array(of == split))
        pq.write_table(part, folder / f"{split}.parquet", compression="zstd")
        digests[split], rows[split] = content_digest(part), part.num_rows
    splits = Splits(folder, accepted.manifest.labels, digests, rows, int(bad.sum()))
    record = {name: value for name, value in asdict(splits).items() if name != "folder"}
    (folder / SPLITS_FILE).write_text(json.dumps(record, indent=2) + "\n")
    return splits


def read_splits(folder: Path) -> Splits:
    """Open splits written by `prepare`.

    Raises
    ------
    ArtifactError
        If the folder contains no valid splits.
    """
    try:
        record = json.loads((folder / SPLITS_FILE).read_text())
        return Splits(folder, **{**record, "labels": tuple(record["labels"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ArtifactError(f"{folder} contains no valid splits ({error}); run the prepare step again.") from error


def _conflicts(table: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    frame = table.select(["text", "label", "key"]).to_pandas()
    reason = np.full(len(frame), "", dtype=object)
    reason[(frame.groupby("key")["label"].transform("nunique") > 1).to_numpy()] = (
        "the same text has a different label elsewhere"
    )
    reason[(frame["text"] == "").to_numpy()] = "the text is blank after repair"
    return reason


def _hash_fractions(keys: Sequence[str], salt: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return a number in [0, 1) for each key, determined by the key and the salt."""
    prefix = hashlib.blake2b(salt.encode(), digest_size=8)

    def fraction(key: str) -> int:
        digest = prefix.copy()
        digest.update(key.encode())
        return int.from_bytes(digest.digest())

    return np.fromiter((fraction(key) for key in keys), np.uint64, len(keys)) / np.float64(2**64)
