"""Score a file or a folder of tweets with a packaged model, in shards that survive a kill."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from filelock import FileLock, Timeout

from polarity.config.sections import InputConfig, last_name
from polarity.config.settings import settings
from polarity.data.columns import TEXT_NAMES, find_column
from polarity.data.files import TweetFiles, find_files
from polarity.data.stream import ROW, TweetFile
from polarity.errors import ConfigurationError, DataRejected
from polarity.families.registry import family_named
from polarity.inference.package import MANIFEST, file_digest
from polarity.inference.placement import cores
from polarity.pipeline.config import ScoreConfig
from polarity.registry.stored_model import StoredModel
from polarity.scoring.pool import Pool, process_pool
from polarity.scoring.shard import Columns, Shard, score_with
from polarity.scoring.tally import Tally

MANIFEST_FILE = "scoring.json"
ID_NAMES = ("id", "tweet_id", "tweetid", "textid")
DATE_NAMES = ("date", "created_at", "tweetdate", "timestamp", "time")

Listener = Callable[[Tally], None]


@dataclass(frozen=True)
class Scoring:
    """The input, the model and the output folder of a scoring."""

    config: ScoreConfig
    model: StoredModel
    source: TweetFiles
    """The input."""
    record: dict[str, Any]
    """Content of the manifest: the digests of the inputs and the model, and the options that change the result."""
    folder: Path

    @property
    def key(self) -> str:
        """Identifies the scoring: the same tweets, model and options give the same key."""
        return hashlib.sha256(json.dumps(self.record, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def workers(self) -> int:
        """Number of scoring processes."""
        return self.config.workers or cores()

    def remarks(self) -> list[str]:
        """Return what the user should know before the scoring starts."""
        return self.source.remarks()

    def parts(self) -> Path:
        """The folder of the Parquet files."""
        return self.folder / "scores"


def open_scoring(config: ScoreConfig, model: StoredModel) -> Scoring:
    """Check the input and prepare the output folder.

    Raises
    ------
    ConfigurationError, DataRejected
        If there is nothing to read, a file lacks a column, or the output folder belongs to a different scoring.
    """
    source = _source(config.data)
    for path in source.files.values():
        _columns(TweetFile(path, config.data), config)
    record = {
        "inputs": {name: file_digest(path) for name, path in source.files.items()},
        "model": {"title": model.title, "digest": file_digest(model.folder / MANIFEST)},
        "options": {
            **config.data.model_dump(mode="json", exclude={"path"}),
            **config.model_dump(mode="json", include={"keep"}),
            "shard_rows": config.shard_rows or family_named(model.manifest.family).traits.shard_rows,
        },
    }
    scoring = Scoring(config, model, source, record, config.output or Path())
    if config.output is None:
        given = (last_name(config.data.path) or "").split(".")[0]
        name = f"score-{given}-{model.manifest.name}-{scoring.key[:8]}"
        scoring = replace(scoring, folder=settings().runs_folder / name)
    if scoring.folder.resolve().is_relative_to(source.path.resolve()):
        raise ConfigurationError(
            f"Got output={scoring.folder}, which is inside {source.source}; choose a folder outside it."
        )
    _claim(scoring)
    return scoring


def score(scoring: Scoring, listen: Listener = lambda _: None, pool: Pool | None = None) -> Tally:
    """Score every shard that is not scored yet.

    The input is always read from its beginning, even if some shards are done; only a few shards are in memory
    at any time. Each worker loads the model.

    Parameters
    ----------
    scoring : Scoring
        As returned by `open_scoring`.
    listen : callable
        Called with the counts so far after each shard.
    pool : Pool, optional
        External executor, whose machines must see the same folders. Default: processes on this machine.

    Returns
    -------
    Tally
        The counts over all shards, including those of earlier attempts.

    Raises
    ------
    ServiceUnavailable
        If a worker was killed; calling again resumes.
    DataRejected
        If a file turns out to be damaged.
    """
    scoring.parts().mkdir(parents=True, exist_ok=True)
    total, shards = Tally(), []
    model = scoring.model.folder, scoring.record["model"]["digest"], scoring.model.title
    opened = nullcontext(pool) if pool else process_pool(scoring.workers, cores())
    with _locked(scoring.folder), opened as workers:
        waiting: set[Future[Tally]] = set()
        for shard, table, columns in _shards(scoring):
            shards.append({"file": shard.source, "part": shard.path.name, "first_row": table.column(ROW)[0].as_py(),
                           "rows": table.num_rows})  # fmt: skip
            if done := shard.tally():
                total += done
                listen(total)
                continue
            rows = table.combine_chunks()  # otherwise the whole buffer behind the slice would be sent
            waiting.add(workers.executor.submit(score_with, *model, workers.threads, rows, columns, shard))
            if len(waiting) >= 2 * workers.slots:
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                total = sum((future.result() for future in finished), total)
                listen(total)
        for future in waiting:
            total += future.result()
            listen(total)
        _write_manifest(scoring, shards)
    return total


def _source(config: InputConfig) -> TweetFiles:
    if config.path is None:
        raise ConfigurationError(
            "No tweets to score: give --data.path with a CSV, TSV, JSON, Parquet or Excel file, or a folder of them."
        )
    return find_files(config.path)


def _columns(file: TweetFile, config: ScoreConfig) -> Columns:
    data, there, source = config.data, file.columns, str(file.path)
    text = find_column(there, data.text_column, TEXT_NAMES, role="text", source=source)
    for name in config.keep:
        find_column(there, name, (), role="kept column", source=source)
    columns = Columns(
        text,
        _optional(there, data.id_column, ID_NAMES, role="id", source=source),
        _optional(there, data.date_column, DATE_NAMES, role="date", source=source),
        config.keep,
    )
    clashing = sorted(set(columns) & {"file", ROW, "sentiment", "model", "reason"} - {text})
    if clashing:
        raise ConfigurationError(
            f"{clashing} in {source} cannot be kept, because the result has columns with these names."
        )
    return columns


def _optional(
    there: tuple[str, ...], wanted: str | None, usual: tuple[str, ...], *, role: str, source: str
) -> str | None:
    try:
        return find_column(there, wanted, usual, role=role, source=source)
    except DataRejected:
        if wanted is not None:
            raise
        return None


def _shards(scoring: Scoring) -> Iterator[tuple[Shard, pa.Table, Columns]]:
    for place, (name, path) in enumerate(scoring.source.files.items()):
        file = TweetFile(path, scoring.config.data)
        columns = _columns(file, scoring.config)
        tables = file.tables(*columns)
        for number, table in enumerate(_regrouped(tables, scoring.record["options"]["shard_rows"])):
            part = scoring.parts() / f"part-{place:04d}-{number:05d}.parquet"
            yield Shard(name, number, part, scoring.key), table, columns


def _regrouped(tables: Iterator[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Regroup tables into tables of `rows` rows; the last one may have fewer."""
    held: list[pa.Table] = []
    count = 0
    for table in tables:
        held.append(table)
        count += table.num_rows
        while count >= rows:
            joined = pa.concat_tables(held)
            yield joined.slice(0, rows)
            held, count = [joined.slice(rows)], count - rows
    if count:
        yield pa.concat_tables(held)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise ConfigurationError(
            f"Another run is scoring into {folder}; wait for it, or choose a different --output."
        ) from error


def _claim(scoring: Scoring) -> None:
    """Create the manifest, or check that the existing one belongs to the same scoring."""
    path = scoring.folder / MANIFEST_FILE
    if not path.exists():
        scoring.folder.mkdir(parents=True, exist_ok=True)
        _write_manifest(scoring, None)
        return
    before = json.loads(path.read_text())
    changed = [
        {"inputs": "the tweets", "model": "the model", "options": "the options"}[part]
        for part in ("inputs", "model", "options")
        if before[part] != scoring.record[part]
    ]
    if changed:
        raise ConfigurationError(
            f"{scoring.folder} contains scores by {before['model']['title']}, but {' and '.join(changed)} changed "
            "since. Choose a different --output, or delete that folder."
        )


def _write_manifest(scoring: Scoring, shards: list[dict[str, Any]] | None) -> None:
    draft = scoring.folder / f"{MANIFEST_FILE}.draft"
    draft.write_text(json.dumps({**scoring.record, "complete": shards is not None, "shards": shards or []}, indent=1))
    draft.replace(scoring.folder / MANIFEST_FILE)
