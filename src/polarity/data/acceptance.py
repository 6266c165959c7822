"""The gate before anything learns from a snapshot: what may go on, what is set aside, what stops the flow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from ftfy.badness import is_bad

from polarity.config import GateConfig
from polarity.data.gates import GateResult, validate
from polarity.data.snapshot import Snapshot, write_snapshot
from polarity.errors import DataRejected

QUARANTINE_FILE = "quarantine.parquet"


@dataclass(frozen=True)
class Acceptance:
    """What the gate let through, and what it kept."""

    accepted: Snapshot
    quarantine: Path
    """Parquet: the rows that were set aside, with a column `reason`."""
    quarantined: int
    gate: GateResult


def accept(snapshot: Snapshot, config: GateConfig, folder: Path) -> Acceptance:
    """Put `snapshot` before the suite `raw_tweets`; write the accepted rows, the quarantine and the Data Docs.

    Raises
    ------
    DataRejected
        If an aggregate fails or too many rows are bad. The message lists every failure; the Data Docs and the
        quarantine are written all the same.
    """
    table = snapshot.read()
    labels = snapshot.manifest.labels
    frame = _examined(table, labels)
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
    pq.write_table(set_aside.append_column("reason", pa.array(written, pa.string())), quarantine)
    refusals = [check.message for check in gate.failures]
    if not refusals and bad.mean() > config.max_bad_share:
        refusals = [
            f"{bad.mean():.1%} of the rows are bad, and at most {config.max_bad_share:.1%} may be (gate.max_bad_share)"
        ]
    if refusals:
        raise DataRejected(f"{snapshot.manifest.source} is not fit to learn from: " + ". ".join(refusals) + ".")
    accepted = write_snapshot(
        table.filter(pa.array(~bad)), folder / "accepted", source=snapshot.manifest.source, labels=labels
    )
    return Acceptance(accepted, quarantine, int(bad.sum()), gate)


def _examined(table: pa.Table, labels: tuple[str, ...]) -> pd.DataFrame:
    """What the suite looks at: row, text, label, and a column of 0 and 1 for each aggregate."""
    frame = table.select(["row", "text", "label"]).to_pandas()
    counts = frame["label"].value_counts()
    rarest = min(labels, key=lambda label: int(counts.get(label, 0)))
    folded = frame["text"].str.strip().str.lower()
    frame["of_rarest_class"] = (frame["label"] == rarest).astype(np.float32)
    frame["repeats_earlier"] = (folded.duplicated() & folded.notna() & (folded != "")).astype(np.float32)
    frame["mojibake"] = np.array(
        [isinstance(text, str) and not text.isascii() and is_bad(text) for text in frame["text"]], np.float32
    )
    return frame
