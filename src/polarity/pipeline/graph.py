"""The graph of a training run, declared once: every step with its needs, inputs, parameters and work.

The Prefect flows run these steps, `--plan` looks them up in the store, the benchmark times them, `--graph` draws them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from polarity.bento import build as bento
from polarity.bento.probe import probe
from polarity.bento.store import exists
from polarity.config.sections import DataConfig, last_name
from polarity.data.acceptance import Acceptance, accept, read_acceptance
from polarity.data.gates import SUITES, GateResult
from polarity.data.ingest import ingest
from polarity.data.snapshot import Snapshot, read_snapshot
from polarity.data.sources import source_files
from polarity.data.split_gate import check_splits
from polarity.data.splits import SplitName, Splits, prepare, read_splits
from polarity.evaluation.behaviour_tests import words_of
from polarity.evaluation.examination import Examination, examine
from polarity.evaluation.latency import Latency, measure_latency
from polarity.evaluation.machine import Machine
from polarity.evaluation.mistakes import MistakeReport, find_mistakes
from polarity.evaluation.prediction_gate import check_predictions
from polarity.evaluation.scorecard import Scorecard, write_scorecard
from polarity.evaluation.sentences import FOLDER
from polarity.evaluation.verdict import Verdict
from polarity.families.fit import FIT_FILE, PACKAGED, TRAINING_ROWS, fit_model
from polarity.families.packaging import load_predictor
from polarity.inference.package import ModelManifest, file_digest
from polarity.pipeline.config import BehaviourConfig, LearningConfig, TrainConfig
from polarity.pipeline.isolation import run_isolated
from polarity.pipeline.recent_tweets import RecentTweets, gather
from polarity.pipeline.step import Decision, Node, Results, Step
from polarity.selection.policy import Candidate, select
from polarity.text.tweets import IntArray

BENTO_FILE = "bento.json"
GATE_FILE = "gate.json"
LATENCY_FILE = "latency.json"
MISTAKES_FILE = "mistakes.json"
VOCABULARY_TWEETS = 20_000
"""Training tweets, evenly spread, whose words the sentences of the behaviour tests may use."""
_ARRAYS = ("numpy", "pandas", "pyarrow")
_SERVED = ("numpy", "scikit-learn", "onnxruntime", "tokenizers", "ftfy")


@dataclass(frozen=True)
class Fitted:
    """A stored fit."""

    folder: Path

    @property
    def key(self) -> str:
        """Key of the fit in the store."""
        return self.folder.name

    @property
    def record(self) -> dict[str, Any]:
        """The record that `polarity.families.fit` wrote."""
        record: dict[str, Any] = json.loads((self.folder / FIT_FILE).read_text())
        return record

    @property
    def training_rows(self) -> IntArray:
        """The rows of the training split's file that the model was fitted on, of shape (n,), ascending."""
        rows: IntArray = np.load(self.folder / TRAINING_ROWS)
        return rows

    @property
    def rows_digest(self) -> str:
        """Digest of `training_rows`."""
        return file_digest(self.folder / TRAINING_ROWS)

    @property
    def packaged(self) -> Path:
        """The folder of the packaged model."""
        return self.folder / PACKAGED

    @property
    def digest(self) -> str:
        """Digest of the packaged model; a repeated fit with the same outcome has the same digest."""
        return ModelManifest.read(self.packaged, check=False).digest


def _source_digests(config: DataConfig) -> dict[str, str]:
    found = source_files(config)
    if not found.is_folder:
        return {"file": file_digest(found.path)}
    return {f"file {name}": file_digest(path) for name, path in found.files.items()}


class Ingest(Step[Snapshot]):
    """Source -> snapshot."""

    name = "ingest"
    libraries = ("pyarrow", "ftfy")

    @cached_property
    def recent(self) -> RecentTweets | None:
        """What came in since; read once, so that the fingerprint is that of the tweets that are written."""
        return gather() if self.config.data.recent.enabled else None

    def inputs(self) -> Mapping[str, str]:
        data = self.config.data
        files = _source_digests(data) if data.source == "file" else {}
        if self.recent is None:
            return files
        remarks = hashlib.sha256(json.dumps(self.recent.remarks).encode()).hexdigest()
        return {**files, "recent": self.recent.digest, "remarks": remarks}

    def parameters(self) -> Mapping[str, Any]:
        data = self.config.data
        options = data.model_dump(mode="json", exclude={"recent", *(["path"] if data.source == "file" else [])})
        options["file_name"] = last_name(data.path)
        return {"data": options, "labels": self.config.labels}

    def write(self, folder: Path) -> None:
        recent = self.recent
        if recent is None:
            ingest(self.config.data, self.config.labels, folder)
        else:
            ingest(self.config.data, self.config.labels, folder, recent.table, recent.remarks)

    def read(self, folder: Path) -> Snapshot:
        return read_snapshot(folder)


class Accept(Step[Acceptance]):
    """Snapshot -> accepted rows and quarantine."""

    name = "accept"
    needs = (Ingest,)
    libraries = ("great-expectations", "ftfy", *_ARRAYS)
    files = (SUITES / "raw_tweets.json",)

    def inputs(self) -> Mapping[str, str]:
        return {"snapshot": self.result_of(Ingest).manifest.digest}

    def parameters(self) -> Mapping[str, Any]:
        return self.options("gate", "labels")

    def write(self, folder: Path) -> None:
        accept(self.result_of(Ingest), self.config.gate, folder)

    def read(self, folder: Path) -> Acceptance:
        return read_acceptance(folder)


class Prepare(Step[Splits]):
    """Accepted rows -> splits."""

    name = "prepare"
    needs = (Accept,)
    libraries = ("ftfy", *_ARRAYS)

    def inputs(self) -> Mapping[str, str]:
        return {"accepted": self.result_of(Accept).accepted.manifest.digest}

    def parameters(self) -> Mapping[str, Any]:
        return self.options("preparation", "labels")

    def write(self, folder: Path) -> None:
        prepare(self.result_of(Accept).accepted, self.config.preparation, folder)

    def read(self, folder: Path) -> Splits:
        return read_splits(folder)


class CheckSplits(Step[GateResult]):
    """Splits -> the gate's result and Data Docs."""

    name = "check-splits"
    needs = (Prepare,)
    libraries = ("great-expectations", *_ARRAYS)
    files = (SUITES / "prepared_tweets.json",)

    def inputs(self) -> Mapping[str, str]:
        return self.result_of(Prepare).digests

    def parameters(self) -> Mapping[str, Any]:
        return self.options("gate", "preparation", "labels")

    def write(self, folder: Path) -> None:
        splits, config = self.result_of(Prepare), self.config
        result = check_splits(splits, config.preparation, config.gate, folder / "data_docs")
        result.refuse("The splits")
        result.write(folder / GATE_FILE)

    def read(self, folder: Path) -> GateResult:
        return GateResult.read(folder / GATE_FILE)


class Fit(Step[Fitted]):
    """Train and validation splits -> a fitted and packaged model. The test split is not read."""

    name = "fit"
    needs = (Prepare,)
    each_model = True

    def inputs(self) -> Mapping[str, str]:
        splits = self.result_of(Prepare)
        external = self.family.external_inputs(self.config.section(self.model))
        return {
            "train": splits.digests["train"],
            "validation": splits.digests["validation"],
            **{option: given.digest for option, given in external.items()},
        }

    def parameters(self) -> Mapping[str, Any]:
        section = self.config.section(self.model)
        external = self.family.external_inputs(section)
        stand_ins = {option: given.stands_for for option, given in external.items()}
        options = {**section.model_dump(mode="json"), **stand_ins}
        known = {"options": options, "seed": self.config.seed, "labels": self.result_of(Prepare).labels}
        return {**known, "mixture": self._mixture} if self._mixture else known

    @property
    def _mixture(self) -> dict[str, Any] | None:
        """How old and recent tweets are mixed, if there are any recent ones."""
        recent = self.config.data.recent
        return recent.model_dump(include={"weight", "old_share", "max_distant_share"}) if recent.enabled else None

    def libraries_of_family(self) -> tuple[str, ...]:
        return self.family.libraries

    def write(self, folder: Path) -> None:
        splits, config = self.result_of(Prepare), self.config
        job = {
            "name": self.model,
            "family": self.family.name,
            "section": config.section(self.model).model_dump(mode="json"),
            "seed": config.seed,
            "labels": splits.labels,
            "train": str(splits.path("train")),
            "validation": str(splits.path("validation")),
            "folder": str(folder),
            "mixture": self._mixture,
        }
        kept = self.checkpoints
        if kept:
            newest, every_s = kept.resume(), 60 * config.faults.checkpoint_minutes
            job["checkpoints"] = {"folder": str(kept.folder), "every_s": every_s, "newest": newest and str(newest)}

        def listen(fraction: float, message: str, metrics: Mapping[str, float]) -> None:
            if kept:
                kept.share()
            self.listen(fraction, message, metrics)

        run_isolated(
            f"{fit_model.__module__}:{fit_model.__name__}",
            job,
            folder=folder / "process",
            timeout_s=config.faults.fit_timeout_s,
            listen=listen,
            environment={"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONUNBUFFERED": "1"},
        )

    def read(self, folder: Path) -> Fitted:
        return Fitted(folder)


class Evaluate(Step[Scorecard]):
    """A packaged model on the tweets it was fitted on and on validation -> its scorecard, gated on validation."""

    name = "evaluate"
    needs = (Fit, Prepare)
    each_model = True
    libraries = ("great-expectations", *_ARRAYS, *_SERVED)
    files = (SUITES / "predictions.json",)

    def inputs(self) -> Mapping[str, str]:
        fitted, digests = self.result_of(Fit), self.result_of(Prepare).digests
        return {
            "model": fitted.digest,
            "training_rows": fitted.rows_digest,
            "train": digests["train"],
            "validation": digests["validation"],
        }

    def parameters(self) -> Mapping[str, Any]:
        config = self.config
        return {"seed": config.seed, "labels": config.labels, "train_rows": config.evaluation.train_rows}

    def write(self, folder: Path) -> None:
        fitted, splits, config = self.result_of(Fit), self.result_of(Prepare), self.config
        scorecard = write_scorecard(
            fitted.packaged,
            {"train": splits.path("train"), "validation": splits.path("validation")},
            folder,
            label_names=splits.labels,
            seed=config.seed,
            among={"train": fitted.training_rows},
            max_rows={"train": config.evaluation.train_rows},
            sliced=["validation"],
        )
        predictions = scorecard.predictions("validation")
        gate = check_predictions(predictions, folder / "data_docs", rows=splits.rows["validation"])
        gate.write(folder / GATE_FILE)

    def read(self, folder: Path) -> Scorecard:
        return Scorecard(folder, self.config.labels)


class Examine(Step[Examination]):
    """A packaged model -> its behaviour on sentences of the tweets' language, and on changed validation tweets."""

    name = "examine"
    needs = (Fit, Prepare)
    each_model = True
    libraries = _SERVED
    files = tuple(sorted(FOLDER.glob("*.yaml")))

    def inputs(self) -> Mapping[str, str]:
        own = self._behaviour.path
        return {
            "model": self.result_of(Fit).digest,
            "train": self.result_of(Prepare).digests["train"],
            "validation": self.result_of(Prepare).digests["validation"],
            **({"sentences": file_digest(own)} if own else {}),
        }

    def parameters(self) -> Mapping[str, Any]:
        limits = self._behaviour.limits(self.family.name)
        return {"limits": limits, "language": self._behaviour.language, "seed": self.config.seed}

    def write(self, folder: Path) -> None:
        predictor = load_predictor(self.result_of(Fit).packaged)
        splits, own = self.result_of(Prepare), self._behaviour.path
        tweets, learned = splits.read("validation"), splits.read("train").texts
        sampled = learned[:: max(1, len(learned) // VOCABULARY_TWEETS)]
        examine(predictor, tweets, words_of(sampled), path=own, **self.parameters()).write(folder)

    def read(self, folder: Path) -> Examination:
        return Examination.read(folder)

    @property
    def _behaviour(self) -> BehaviourConfig:
        assert isinstance(self.config, TrainConfig)
        return self.config.behaviour


class Time(Step[Latency]):
    """A packaged model -> its latency for one text on this machine. Must run while nothing else does."""

    name = "time"
    needs = (Fit, Prepare)
    each_model = True
    libraries = _SERVED

    def inputs(self) -> Mapping[str, str]:
        return {"model": self.result_of(Fit).digest}

    def parameters(self) -> Mapping[str, Any]:
        return {"seed": self.config.seed, "machine": asdict(Machine.here())}

    def write(self, folder: Path) -> None:
        texts, machine = self.result_of(Prepare).read("validation").texts, Machine.here()
        predictor = load_predictor(self.result_of(Fit).packaged, machine.threads)
        latency = measure_latency(predictor, texts, seed=self.config.seed, machine=machine)
        (folder / LATENCY_FILE).write_text(json.dumps(asdict(latency)) + "\n")

    def read(self, folder: Path) -> Latency:
        return Latency.from_dict(json.loads((folder / LATENCY_FILE).read_text()))


class Select(Decision[Verdict]):
    """The measurements of all models -> the verdict of the policy, based on validation only."""

    name = "select"
    needs = (Fit, Evaluate, Examine, Time)

    @classmethod
    def decide(cls, config: TrainConfig, results: Mapping[str, Results]) -> Verdict:
        candidates = [candidate(model, of) for model, of in results.items()]
        return select(candidates, config.select, seed=config.seed)


class _OnOneSplit(Step[Scorecard]):
    """A packaged model on one split -> its scorecard."""

    needs = (Fit, Prepare)
    each_model = True
    libraries = (*_ARRAYS, *_SERVED)
    split: ClassVar[SplitName]

    def inputs(self) -> Mapping[str, str]:
        return {"model": self.result_of(Fit).digest, self.split: self.result_of(Prepare).digests[self.split]}

    def parameters(self) -> Mapping[str, Any]:
        return {"seed": self.config.seed, "labels": self.config.labels}

    def write(self, folder: Path) -> None:
        splits = self.result_of(Prepare)
        write_scorecard(
            self.result_of(Fit).packaged,
            {self.split: splits.path(self.split)},
            folder,
            label_names=splits.labels,
            seed=self.config.seed,
            sliced=[self.split],
        )

    def read(self, folder: Path) -> Scorecard:
        return Scorecard(folder, self.config.labels)


class Test(_OnOneSplit):
    """A packaged model on the test split -> its scorecard. Reported, but never used for selection."""

    name = "test"
    split = "test"


class Validate(_OnOneSplit):
    """A trial of a search on validation -> its scorecard. Not part of a training run."""

    name = "validate"
    split = "validation"


class Mistakes(Step[MistakeReport]):
    """A packaged model and its test predictions -> its most confident errors and suspicious labels."""

    name = "mistakes"
    needs = (Test, Fit, Prepare)
    each_model = True
    libraries = _SERVED

    def inputs(self) -> Mapping[str, str]:
        return {"model": self.result_of(Fit).digest, "test": self.result_of(Prepare).digests["test"]}

    def write(self, folder: Path) -> None:
        predictor = load_predictor(self.result_of(Fit).packaged)
        find_mistakes(predictor, self.result_of(Test).predictions("test")).write(folder / MISTAKES_FILE)

    def read(self, folder: Path) -> MistakeReport:
        return MistakeReport.read(folder / MISTAKES_FILE)


class Package(Step[str]):
    """The selected model -> a candidate Bento that has answered real requests."""

    name = "package"
    needs = (Select, Fit)
    libraries = ("bentoml",)

    # a family's file counts as code instead: a Bento contains all of them, but runs only one
    files = tuple(path for path in bento.sources() if path.parent.name != "families")

    def inputs(self) -> Mapping[str, str]:
        return {"model": self.result_of(Fit).digest}

    def write(self, folder: Path) -> None:
        tag = bento.build(self.result_of(Fit).packaged)
        probe(tag)
        (folder / BENTO_FILE).write_text(json.dumps({"tag": tag}) + "\n")

    def read(self, folder: Path) -> str:
        tag: str = json.loads((folder / BENTO_FILE).read_text())["tag"]
        return tag

    def is_usable(self, result: str) -> bool:
        return exists(result)


PREPARATION: tuple[type[Step[Any]], ...] = (Ingest, Accept, Prepare, CheckSplits)
"""The first steps of every flow that trains models."""

GRAPH: tuple[type[Node], ...] = (*PREPARATION, Fit, Evaluate, Examine, Time, Select, Test, Mistakes, Package)
"""All nodes of a training run, in dependency order."""


def nodes(config: LearningConfig) -> Iterator[tuple[type[Node], str | None]]:
    """The nodes for the models of a configuration, in dependency order."""
    for node in GRAPH:
        for model in config.models if node.each_model else [None]:
            yield node, model


def candidate(model: str, results: Results) -> Candidate:
    """The policy's view of a model that was fitted, evaluated, examined and timed."""
    fitted: Fitted = results[Fit.name]
    scorecard: Scorecard = results[Evaluate.name]
    return Candidate(
        name=model,
        family=fitted.record["family"],
        latency_ms_p95=results[Time.name].p95_ms,
        size_bytes=fitted.record["size_bytes"],
        validation=scorecard.predictions("validation"),
        objections=objections(scorecard, results[Examine.name]),
        latency_machine=str(results[Time.name].machine),
    )


def objections(scorecard: Scorecard, examined: Examination) -> tuple[str, ...]:
    """Reasons why a model must not be selected, whatever its score."""
    return (
        *rejected_predictions(scorecard),
        *no_better_than_a_constant(scorecard),
        *examined.behaviour.objections,
    )


def no_better_than_a_constant(scorecard: Scorecard) -> tuple[str, ...]:
    """An objection to a model that is not shown to beat the answer that is always the most frequent class.

    Behaviour tests cannot find that in every language: a model that learned nothing may keep all of its answers.
    """
    validation = scorecard.predictions("validation")
    counts = np.bincount(validation.labels, minlength=len(validation.label_names))
    share = counts.max() / counts.sum()
    if scorecard.metrics["validation"].accuracy_interval[0] > share:
        return ()
    most = validation.label_names[int(counts.argmax())]
    return (f"its validation accuracy is not shown to be above {share:.0%}, which “{most}” for every tweet would have",)


def rejected_predictions(scorecard: Scorecard) -> tuple[str, ...]:
    """The failed checks of the predictions' gate, as objections."""
    failures = GateResult.read(scorecard.folder / GATE_FILE).failures
    return tuple(f"its predictions were rejected: {check.message}" for check in failures)


def mermaid() -> str:
    """The graph as a Mermaid flowchart, with boxes for steps and diamonds for decisions."""
    each = [node for node in GRAPH if node.each_model]
    lines = ["flowchart TD"]
    lines += [f"    {_shape(node)}" for node in GRAPH if not node.each_model]
    lines += ['    subgraph each["for each model"]', *(f"        {_shape(node)}" for node in each), "    end"]
    lines += [f"    {need.name} --> {node.name}" for node in GRAPH for need in _direct(node)]
    return "\n".join(lines) + "\n"


def _shape(node: type[Node]) -> str:
    return f"{node.name}{{{node.name}}}" if issubclass(node, Decision) else f"{node.name}[{node.name}]"


def _direct(node: type[Node]) -> list[type[Node]]:
    """The direct needs of a node, without those implied by its other needs."""
    return [need for need in node.needs if not any(need in _all_needs(other) for other in node.needs)]


def _all_needs(node: type[Node]) -> set[type[Node]]:
    return {need for direct in node.needs for need in (direct, *_all_needs(direct))}
