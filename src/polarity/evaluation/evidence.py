"""The files in a run folder from which the report is made.

summary.json, verdict.json         the run
seeds.json                         metrics of the same model with different seeds, if measured
<candidate>/test.parquet           predictions on the test split
<candidate>/history.json           the learning curve
<candidate>/words.json             the most telling words, for families that have them
<candidate>/behaviour.json         behaviour tests
<candidate>/bias.json              identity terms swapped
<candidate>/mistakes.json          confident errors and suspected label errors on the test split
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from polarity.errors import ArtifactError
from polarity.evaluation.behaviour import BehaviourReport
from polarity.evaluation.bias import BiasReport
from polarity.evaluation.examination import BEHAVIOUR, BIAS
from polarity.evaluation.mistakes import MistakeReport
from polarity.evaluation.predictions import Predictions
from polarity.evaluation.summary import ModelSummary, RunSummary
from polarity.evaluation.verdict import Verdict
from polarity.families.protocol import History

T = TypeVar("T")

TEST = "test.parquet"
HISTORY = "history.json"
WORDS = "words.json"
MISTAKES = "mistakes.json"
VERDICT = "verdict.json"
SEEDS = "seeds.json"


@dataclass(frozen=True)
class Evidence:
    """What is known of one candidate beyond its metrics; `None` for what was not measured."""

    test: Predictions | None = None
    history: History | None = None
    words: Mapping[str, list[tuple[str, float]]] | None = None
    behaviour: BehaviourReport | None = None
    bias: BiasReport | None = None
    mistakes: MistakeReport | None = None

    def write(self, folder: Path) -> None:
        """Write the available parts into the candidate's run folder."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.test is not None:
            self.test.write(folder / TEST)
        records: dict[str, Any] = {
            HISTORY: asdict(self.history) if self.history else None,
            WORDS: self.words,
            BEHAVIOUR: self.behaviour.to_dict() if self.behaviour else None,
            BIAS: self.bias.to_dict() if self.bias else None,
            MISTAKES: self.mistakes.to_dict() if self.mistakes else None,
        }
        for name, record in records.items():
            if record is not None:
                (folder / name).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path, label_names: tuple[str, ...]) -> Self:
        """Read what `write` wrote.

        Raises
        ------
        ArtifactError
            If a file exists but cannot be read.
        """
        return cls(
            test=Predictions.read(folder / TEST, label_names) if (folder / TEST).is_file() else None,
            history=_read(folder / HISTORY, lambda record: History(tuple(record["epochs"]), record["notes"])),
            words=_read(folder / WORDS, lambda record: {k: [(w, x) for w, x in v] for k, v in record.items()}),
            behaviour=_read(folder / BEHAVIOUR, BehaviourReport.from_dict),
            bias=_read(folder / BIAS, BiasReport.from_dict),
            mistakes=_read(folder / MISTAKES, MistakeReport.from_dict),
        )


@dataclass(frozen=True)
class ReportData:
    """The content of the report.

    `seeds` holds, by candidate, the test METRICS of fits that differ only in the seed.
    """

    summary: RunSummary
    verdict: Verdict | None
    evidence: Mapping[str, Evidence]
    seeds: Mapping[str, list[dict[str, Any]]]

    @classmethod
    def read(cls, run_folder: Path) -> Self:
        """Read the data from a run folder.

        Raises
        ------
        ArtifactError
            If the summary is missing, or a file cannot be read.
        """
        if not (run_folder / "summary.json").is_file():
            raise ArtifactError(f"{run_folder} contains no summary.json; a report needs a finished run.")
        summary = RunSummary.read(run_folder)
        return cls(
            summary=summary,
            verdict=_read(run_folder / VERDICT, Verdict.from_dict),
            evidence={
                model.name: Evidence.read(run_folder / model.name, summary.data.labels) for model in summary.models
            },
            seeds=_read(run_folder / SEEDS, dict) or {},
        )

    @property
    def selected(self) -> ModelSummary | None:
        """The selected candidate."""
        return next((m for m in self.summary.models if m.name == self.summary.verdict.selected), None)

    def available(self, part: str) -> dict[str, Any]:
        """Return one part of the evidence by candidate, for the candidates that have it."""
        found = {name: getattr(evidence, part) for name, evidence in self.evidence.items()}
        return {name: value for name, value in found.items() if value is not None}


def _read(path: Path, make: Callable[[Any], T]) -> T | None:
    if not path.is_file():
        return None
    try:
        return make(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, KeyError) as error:
        raise ArtifactError(f"Cannot read {path}: {error}. Run the evaluation again.") from error
