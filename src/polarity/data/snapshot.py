"""A versioned data set: a Parquet file and a manifest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from polarity.errors import ArtifactError

TWEETS_FILE = "tweets.parquet"
UNREADABLE_FILE = "unreadable.parquet"
MANIFEST_FILE = "manifest.json"
_UNREADABLE = pa.schema([("row", pa.int64()), ("line", pa.int64()), ("raw", pa.string()), ("reason", pa.string())])


@dataclass(frozen=True)
class Manifest:
    """The content and origin of a snapshot.

    `digest` is the sha256 of the rows in Arrow's IPC format, so the same tweets
    always have the same digest. The records of the source are `rows` plus those that
    were `unreadable`, `ignored` by label or `thinned_out` to meet a limit.
    """

    source: str
    rows: int
    digest: str
    labels: tuple[str, ...]
    label_counts: dict[str, int]
    columns: tuple[str, ...]
    unreadable: int = 0
    ignored: int = 0
    thinned_out: int = 0
    origins: dict[str, int] = field(default_factory=dict)
    """Rows by origin, if the snapshot has more than a file's."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Recent tweets that were left out, by reason."""
    remarks: tuple[str, ...] = ()
    """What to know about the recent tweets."""


@dataclass(frozen=True)
class Snapshot:
    """A folder with `tweets.parquet` and `manifest.json`."""

    folder: Path
    manifest: Manifest

    @property
    def tweets(self) -> Path:
        """The Parquet file."""
        return self.folder / TWEETS_FILE

    def read(self, columns: list[str] | None = None) -> pa.Table:
        """Read the rows, or only some of their columns."""
        return pq.read_table(self.tweets, columns=columns)

    def read_unreadable(self) -> pa.Table:
        """Read the unreadable records: `row`, `line`, `raw` and `reason`."""
        path = self.folder / UNREADABLE_FILE
        return pq.read_table(path) if self.manifest.unreadable else _UNREADABLE.empty_table()


def write_snapshot(
    table: pa.Table,
    folder: Path,
    *,
    source: str,
    labels: tuple[str, ...],
    unreadable: pa.Table | None = None,
    ignored: int = 0,
    thinned_out: int = 0,
    origins: dict[str, int] | None = None,
    left_out: dict[str, int] | None = None,
    remarks: tuple[str, ...] = (),
) -> Snapshot:
    """Write `table` and the unreadable records as a snapshot into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    if unreadable is not None and unreadable.num_rows:
        typed = _UNREADABLE
        if "file" in unreadable.column_names:  # of a folder
            typed = typed.append(pa.field("file", pa.string())).append(pa.field("file_row", pa.int64()))
        pq.write_table(unreadable.cast(typed), folder / UNREADABLE_FILE, compression="zstd")
    counts = table.column("label").value_counts().to_pylist() if table.num_rows else []
    manifest = Manifest(
        source=source,
        rows=table.num_rows,
        digest=content_digest(table),
        labels=labels,
        label_counts={str(entry["values"]): entry["counts"] for entry in counts},
        columns=tuple(table.column_names),
        unreadable=unreadable.num_rows if unreadable is not None else 0,
        ignored=ignored,
        thinned_out=thinned_out,
        origins=origins or {},
        left_out=left_out or {},
        remarks=remarks,
    )
    pq.write_table(table, folder / TWEETS_FILE, compression="zstd")
    (folder / MANIFEST_FILE).write_text(json.dumps(asdict(manifest), indent=2, ensure_ascii=False) + "\n")
    return Snapshot(folder, manifest)


def read_snapshot(folder: Path) -> Snapshot:
    """Open a snapshot written by `write_snapshot`.

    Raises
    ------
    ArtifactError
        If the folder contains no valid snapshot.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST_FILE).read_text())
        return Snapshot(
            folder,
            Manifest(
                **{
                    **manifest,
                    **{name: tuple(manifest.get(name, ())) for name in ("labels", "columns", "remarks")},
                }
            ),
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ArtifactError(f"{folder} contains no valid snapshot ({error}); run the ingest step again.") from error


def content_digest(table: pa.Table) -> str:
    """Return the sha256 of the rows in order, independent of the file's physical layout."""
    sink = _Digest()
    plain = table.replace_schema_metadata(None).combine_chunks()
    with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), plain.schema) as writer:
        writer.write_table(plain, max_chunksize=65_536)
    return sink.hexdigest()


class _Digest:
    """A write-only file that computes the sha256 of its content."""

    closed = False

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._sha256.update(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing; writes are not buffered."""

    def close(self) -> None:
        self.closed = True

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()
