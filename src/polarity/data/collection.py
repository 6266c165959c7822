"""The tweets that were collected from files: one Parquet file for each address, which is also the memory of it.

A file's tweets and the note that it was read are the same Parquet file, written elsewhere and renamed: a kill at any
moment leaves either both or neither.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from polarity.config.sections import CollectedFilesConfig, DataConfig, GateConfig
from polarity.data.acceptance import accept
from polarity.data.addresses import Addressed
from polarity.data.columns import LABEL_NAMES, TEXT_NAMES, find_column
from polarity.data.emoticons import emoticon_label, without_emoticons
from polarity.data.recent import RECENT_SCHEMA
from polarity.data.snapshot import write_snapshot
from polarity.data.sources import read_tweets
from polarity.data.splits import text_keys
from polarity.data.stream import PROBLEM, TweetFile
from polarity.errors import ConfigurationError, DataRejected
from polarity.text.cleaning import repair
from polarity.text.origins import COLLECTED, DISTANT, ORIGIN

_META = b"polarity"


@dataclass(frozen=True)
class Collected:
    """What was read from one address.

    Attributes
    ----------
    address : str
        With its protocol, without credentials.
    size : int
        In bytes.
    stamp : str
        Changes with the file (its size, time, inode or etag) and with the options of reading.
    digest : str
        The sha256 of its content.
    counts : dict
        Tweets by what became of them.
    problem : str or None
        Why the file was refused. It is tried again when it changes.
    """

    address: str
    size: int
    stamp: str
    digest: str
    counts: dict[str, int] = field(default_factory=dict)
    problem: str | None = None


class Collection:
    """The folder of collected tweets.

    Parameters
    ----------
    folder : Path
        Created if needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Wait until no other process collects, and delete what a killed one left unfinished."""
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in self.folder.glob(".*.unfinished"):
                left.unlink()
            yield

    def known(self, address: str) -> Collected | None:
        """What was read from an address; None if nothing was."""
        path = self._path(address)
        return _meta(path) if path.is_file() else None

    def entries(self) -> list[Collected]:
        """What was read, by address."""
        return sorted(map(_meta, self.folder.glob("*.parquet")), key=lambda entry: entry.address)

    def tweets(self) -> pa.Table:
        """All collected tweets, with the columns of `polarity.data.recent.RECENT_SCHEMA`."""
        tables = [pq.read_table(path, schema=RECENT_SCHEMA) for path in sorted(self.folder.glob("*.parquet"))]
        return pa.concat_tables(tables) if tables else RECENT_SCHEMA.empty_table()

    def add(self, entry: Collected, tweets: pa.Table) -> None:
        """Keep the tweets of an address, besides those that an earlier state of the file had, in one step.

        A file that is overwritten with the next hour's tweets loses none of the last hour's; a text that occurs again
        takes its new label.
        """
        path = self._path(entry.address)
        if path.is_file():
            tweets = _with_earlier(tweets, pq.read_table(path, schema=RECENT_SCHEMA))
        meta = json.dumps(asdict(entry)).encode()
        unfinished = self.folder / f".{path.stem}.unfinished"
        pq.write_table(tweets.replace_schema_metadata({_META: meta}), unfinished, compression="zstd")
        with unfinished.open("rb") as written:
            os.fsync(written.fileno())
        unfinished.replace(path)
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _path(self, address: str) -> Path:
        return self.folder / f"{hashlib.blake2b(address.encode(), digest_size=16).hexdigest()}.parquet"


@dataclass
class Harvest:
    """What one look at the watched files found: entries that were read, and files that wait, with the reason."""

    read: list[Collected] = field(default_factory=list)
    waiting: dict[str, str] = field(default_factory=dict)
    unchanged: int = 0


def collect(config: CollectedFilesConfig, labels: tuple[str, ...], gate: GateConfig, folder: Path) -> Harvest:
    """Read the files that are new or have changed since they were read.

    A file that changed less than `settle_s` ago, or while it was copied, waits for the next look.

    Raises
    ------
    ConfigurationError
        As `Addressed`, if no address is set, or if emoticons cannot give the labels.
    """
    if config.distant and not {"negative", "positive"} <= {*labels}:
        raise ConfigurationError(
            f"Got data.distant with labels={list(labels)}; emoticons only say negative or positive."
        )
    if config.path is None:
        raise ConfigurationError(
            "There is nothing to collect from; set --data.path to a folder or an address such as s3://bucket/folder."
        )
    options = json.dumps([config.model_dump(mode="json", exclude={"path", "settle_s"}), labels, gate.model_dump()])
    watched, collection, harvest = Addressed(config.path, options), Collection(folder), Harvest()
    with collection.locked():
        for found in watched.find():
            known = collection.known(found.address)
            if known is not None and known.stamp == found.stamp:
                harvest.unchanged += 1
                continue
            if found.age_s is not None and 0 <= found.age_s < config.settle_s:
                harvest.waiting[found.address] = f"it changed {found.age_s:.0f} s ago"
                continue
            with tempfile.TemporaryDirectory(prefix="polarity-collect-") as scratch:
                copy = Path(scratch) / PurePosixPath(found.name).name
                try:
                    digest = watched.fetch(found, copy)
                except FileNotFoundError:
                    harvest.waiting[found.address] = "it is gone"
                    continue
                now = watched.look_again(found)
                if now is None or now.stamp != found.stamp or found.size not in (None, copy.stat().st_size):
                    harvest.waiting[found.address] = "it changed while it was read"
                    continue
                tweets, problem = RECENT_SCHEMA.empty_table(), None
                counts: dict[str, int] = {}
                try:
                    tweets, counts = _read(copy, config, labels, gate, Path(scratch))
                except DataRejected as error:
                    problem = str(error).replace(str(copy), found.address)
            entry = Collected(found.address, found.size or 0, found.stamp, digest, counts, problem)
            collection.add(entry, tweets)
            harvest.read.append(entry)
    return harvest


def _read(
    path: Path, config: CollectedFilesConfig, labels: tuple[str, ...], gate: GateConfig, scratch: Path
) -> tuple[pa.Table, dict[str, int]]:
    """The accepted tweets of a file, and the number of its rows by what became of them."""
    reading = config.reading(path)
    file = TweetFile(path, reading)
    unlabelled = reading.label_column is None and not {name.strip().lower() for name in file.columns} & {*LABEL_NAMES}
    if unlabelled and not config.distant:
        raise DataRejected(
            f"{path} has no column of labels; the columns are {', '.join(map(repr, file.columns))}. Name it with "
            "--data.label_column, or set --data.distant true to label the tweets by their emoticons."
        )
    if unlabelled:
        table, counts = _labelled_by_emoticon(file, reading)
        unreadable = None
    else:
        read = read_tweets(reading, labels)
        table, unreadable = read.table, read.unreadable
        counts = {"ignored for their label": read.ignored, "unreadable": unreadable.num_rows}
    counts = {reason: count for reason, count in counts.items() if count}
    if not table.num_rows:
        return RECENT_SCHEMA.empty_table(), counts
    # What only a whole training set must have, such as every class, a single file need not.
    found = set(table.column("label").to_pylist())
    classes = tuple(label for label in labels if label in found) or labels
    snapshot = write_snapshot(table, scratch / "snapshot", source=path.name, labels=classes, unreadable=unreadable)
    rows_only = gate.model_copy(update={"min_rows": 1, "min_class_share": 0.0, "max_duplicate_share": 1.0})
    (scratch / "gate").mkdir()
    acceptance = accept(snapshot, rows_only, scratch / "gate")
    accepted = acceptance.accepted.read(["text", "label"])
    origin = DISTANT if unlabelled else COLLECTED
    accepted = accepted.append_column(ORIGIN, pa.array([origin] * len(accepted), pa.string())).cast(RECENT_SCHEMA)
    quarantined = acceptance.quarantined - (unreadable.num_rows if unreadable is not None else 0)
    return accepted, {origin: len(accepted), **counts, **({"quarantined": quarantined} if quarantined else {})}


def _labelled_by_emoticon(file: TweetFile, reading: DataConfig) -> tuple[pa.Table, dict[str, int]]:
    column = find_column(file.columns, reading.text_column, TEXT_NAMES, role="text", source=str(file.path))
    texts: list[str] = []
    labels: list[str] = []
    counts = {"without an emoticon": 0, "with contradicting emoticons": 0, "nothing but emoticons": 0, "unreadable": 0}
    for table in file.tables(column):
        readable = pc.is_null(table.column(PROBLEM))
        counts["unreadable"] += table.num_rows - pc.sum(readable).as_py()
        for text in table.filter(readable).column(column).to_pylist():
            label = emoticon_label(text or "")
            if label is None:
                counts["without an emoticon"] += 1
            elif label == "mixed":
                counts["with contradicting emoticons"] += 1
            elif bare := without_emoticons(text):
                texts.append(bare)
                labels.append(label)
            else:
                counts["nothing but emoticons"] += 1
    rows = pa.array(range(1, len(texts) + 1), pa.int64())
    return pa.table({"row": rows, "text": pa.array(texts, pa.string()), "label": pa.array(labels, pa.string())}), counts


def _with_earlier(tweets: pa.Table, earlier: pa.Table) -> pa.Table:
    mine = {*text_keys([repair(text) for text in tweets.column("text").to_pylist()])}
    theirs = text_keys([repair(text) for text in earlier.column("text").to_pylist()])
    return pa.concat_tables([tweets, earlier.filter(pa.array([key not in mine for key in theirs], pa.bool_()))])


def _meta(path: Path) -> Collected:
    return Collected(**json.loads(pq.read_schema(path).metadata[_META]))
