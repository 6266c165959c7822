"""The gate before training: accepts rows, quarantines bad ones, and rejects data sets that are unfit for training."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from ftfy.badness import is_bad

from polarity.config.sections import GateConfig
from polarity.data.gates import GateResult, validate
from polarity.data.snapshot import Snapshot, read_snapshot, write_snapshot
from polarity.errors import DataRejected

QUARANTINE_FILE = "quarantine.parquet"
GATE_FILE = "gate.json"


ACCEPTANCE_FILE = "acceptance.json"


@dataclass(frozen=True)
class Acceptance:
    """The result of the gate: the accepted rows and the quarantine."""

    folder: Path
    gate: GateResult
    quarantined: int
    refusal: str | None
    """Why the whole data set was rejected, or `None`."""

    @property
    def accepted(self) -> Snapshot:
        """The accepted rows.

        Raises
        ------
        DataRejected
            If the data set was rejected; the message lists every failure.
        """
        if self.refusal:
            raise DataRejected(self.refusal)
        return read_snapshot(self.folder / "accepted")

    @property
    def quarantine(self) -> Path:
        """Parquet file of the quarantined rows with `reason`, and `line` and `raw` of unreadable records."""
        return self.folder / QUARANTINE_FILE


def accept(snapshot: Snapshot, config: GateConfig, folder: Path) -> Acceptance:
    """Validate `snapshot` with the suite `raw_tweets`; write the accepted rows, the quarantine and the Data Docs.

    A rejected data set also produces a result: its quarantine and Data Docs show what to fix.
    """
    table = snapshot.read()
    labels = snapshot.manifest.labels
    frame = _validation_frame(table, labels)
    gate = validate(
        frame,
        suite="raw_tweets",
        parameters={
            "labels": list(labels),
            "good_share": 1 - config.max_bad_share,
            "min_rows": config.min_rows,
            "max_length": config.max_length,
            "min_class_share": config.min_class_share,
            "max_duplicate_share": config.max_duplicate_share,
            "max_mojibake_share": config.max_mojibake_share,
        },
        docs=folder / "data_docs",
    )
    reasons = gate.reasons()
    bad = np.isin(table.column("row").to_numpy(), np.fromiter(reasons, np.int64, len(reasons)))
    quarantine = folder / QUARANTINE_FILE
    set_aside = table.filter(pa.array(bad))
    written = [reasons[row] for row in set_aside.column("row").to_pylist()]
    set_aside = set_aside.append_column("reason", pa.array(written, pa.string()))
    unreadable = snapshot.read_unreadable()
    # `line` and `raw` locate and quote an unreadable record here, so the file's own columns of these names are dropped
    own = [name for name in set_aside.column_names if name not in ("line", "raw")]
    set_aside = pa.concat_tables([set_aside.select(own), unreadable], promote_options="default").sort_by("row")
    pq.write_table(set_aside, quarantine)
    refusals = [check.message for check in gate.failures]
    share, limit = set_aside.num_rows / (table.num_rows + unreadable.num_rows), config.max_bad_share
    if share > limit:
        if unreadable.num_rows:
            refusals.append(_unreadable_message(unreadable, table.num_rows))
        if not refusals or unreadable.num_rows == set_aside.num_rows:
            refusals.append(f"{share:.1%} of the rows are bad; at most {limit:.1%} may be (gate.max_bad_share)")
    source = snapshot.manifest.source
    refusal = f"{source} is not fit for training: {'. '.join(refusals)}." if refusals else None
    if refusal is None:
        write_snapshot(table.filter(pa.array(~bad)), folder / "accepted", source=source, labels=labels)
    gate.write(folder / GATE_FILE)
    record = {"quarantined": set_aside.num_rows, "refusal": refusal}
    (folder / ACCEPTANCE_FILE).write_text(json.dumps(record, ensure_ascii=False) + "\n")
    return Acceptance(folder, gate, set_aside.num_rows, refusal)


def read_acceptance(folder: Path) -> Acceptance:
    """Read what `accept` wrote."""
    record = json.loads((folder / ACCEPTANCE_FILE).read_text())
    return Acceptance(folder, GateResult.read(folder / GATE_FILE), record["quarantined"], record["refusal"])


def _unreadable_message(unreadable: pa.Table, read: int) -> str:
    first = unreadable.slice(0, 1).to_pylist()[0]
    message = (
        f"{unreadable.num_rows} of {read + unreadable.num_rows} records could not be read; the first, at line "
        f"{first['line']}: {first['reason']}"
    )
    if any("field" in reason for reason in unreadable.column("reason").to_pylist()):
        message += " (if the last column contains unquoted separators, use --data.quoting false)"
    return message


def _validation_frame(table: pa.Table, labels: tuple[str, ...]) -> pd.DataFrame:
    """Return the columns that the suite validates: row, text, label, and a 0/1 column for each aggregate."""
    frame: pd.DataFrame = table.select(["row", "text", "label"]).to_pandas()
    counts = frame["label"].value_counts()
    rarest = min(labels, key=lambda label: int(counts.get(label, 0)))
    folded = frame["text"].str.strip().str.lower()
    frame["of_rarest_class"] = (frame["label"] == rarest).astype(np.float32)
    frame["repeats_earlier"] = (folded.duplicated() & folded.notna() & (folded != "")).astype(np.float32)
    frame["mojibake"] = np.array(
        [isinstance(text, str) and not text.isascii() and is_bad(text) for text in frame["text"]], np.float32
    )
    return frame
