"""The summary of a training run: `summary.json`, and the comparison as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

SUMMARY_FILE = "summary.json"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, protected_namespaces=())


class DataSummary(_Record):
    """The data set of a run."""

    source: str
    digest: str
    rows: int
    quarantined: int
    labels: tuple[str, ...]


class ModelSummary(_Record):
    """One candidate of a run; `train`, `validation` and `test` are METRICS as defined in the design.

    `train_rows` is the number of tweets that it was fitted on, and `train` is measured on these or a sample of them.
    """

    name: str
    family: str
    cached: bool
    train_seconds: float
    train_rows: int
    mlflow_run_id: str
    size_bytes: int
    latency_ms_p95: float
    """The machine that the latency was measured on; empty in runs of before it was recorded."""
    train: dict[str, Any]
    validation: dict[str, Any]
    test: dict[str, Any]
    test_slices: dict[str, dict[str, dict[str, Any]]]


class VerdictSummary(_Record):
    """The selected candidate, the reason, and whether it became the champion."""

    selected: str | None
    reason: str
    champion_before: str | None
    promoted: bool


class RunSummary(_Record):
    """A training run, as specified by the contract in the design."""

    run_id: str
    profile: str
    git_commit: str
    git_clean: bool
    started: str
    seconds: float
    data: DataSummary
    models: tuple[ModelSummary, ...]
    verdict: VerdictSummary
    bento: str | None

    def write(self, folder: Path) -> Path:
        """Write `summary.json` into the run folder."""
        path = folder / SUMMARY_FILE
        path.write_text(json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n")
        return path

    @classmethod
    def read(cls, folder: Path) -> RunSummary:
        """Read what `write` wrote."""
        return cls.model_validate_json((folder / SUMMARY_FILE).read_text())

    def table(self) -> list[dict[str, str]]:
        """Return the comparison as formatted text, one row per candidate."""
        return [
            {
                "model": model.name + (" *" if model.name == self.verdict.selected else ""),
                "train acc": f"{model.train['accuracy']:.3f}",
                "val acc": f"{model.validation['accuracy']:.3f}",
                "test acc": f"{model.test['accuracy']:.3f}",
                "test 95 %": "{:.3f}-{:.3f}".format(*model.test["accuracy_interval"]),
                "macro-F1": f"{model.test['macro_f1']:.3f}",
                "log-loss": f"{model.test['log_loss']:.3f}",
                "fit s": "cached" if model.cached else f"{model.train_seconds:.0f}",
                "ms/text": f"{model.latency_ms_p95:.1f}",
                "MB": f"{model.size_bytes / 1e6:.1f}",
            }
            for model in self.models
        ]

    def markdown(self, links: Mapping[str, str]) -> str:
        """Return the run as a Markdown page for the Prefect UI."""
        table = self.table()
        head = list(table[0]) if table else []
        rows: Sequence[str] = [" | ".join(row.values()) for row in table]
        return "\n".join(
            [
                f"## {self.run_id}",
                f"{self.data.rows:,} tweets from {self.data.source}; {self.data.quarantined} quarantined.",
                "",
                " | ".join(head),
                " | ".join("---" for _ in head),
                *rows,
                "",
                f"**{self.verdict.reason}**",
                "",
                f"Bento: `{self.bento}`" if self.bento else "No Bento was built.",
                "",
                *(f"- [{name}]({address})" for name, address in links.items()),
            ]
        )
