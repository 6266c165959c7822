"""Tracking in MLflow: one parent run per flow run, one child run per candidate."""

from __future__ import annotations

import json
import os
import platform
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import psutil

from polarity.config.settings import settings
from polarity.errors import ServiceUnavailable
from polarity.evaluation.metrics import Metrics
from polarity.families.protocol import History
from polarity.registry.mlflow_client import connect, lock, system_metrics, translate_mlflow_errors

EXPERIMENT = "polarity"
PARENT = "mlflow.parentRunId"
_KIND, _MACHINE_LEARNING = "mlflow.experimentKind", "custom_model_development"
PROCESS = "polarity.process"
HEARTBEAT = "polarity.heartbeat"
HEARTBEAT_S = 60.0
EXPIRY_S = 15 * 60.0
"""A run of another machine counts as abandoned after so long without a heartbeat: its machine is gone, or cut off."""
BATCH = 100
PARAM_LENGTH = 500
NOTE_LENGTH = 5000
LIBRARIES = (
    "polarity", "prefect", "bentoml", "great-expectations", "mlflow", "scikit-learn", "tensorflow", "tf-keras",
    "ktrain", "transformers", "gensim", "numpy", "pandas", "scipy", "onnx", "onnxruntime", "tokenizers",
    "skops", "ftfy",
)  # fmt: skip
SERVING_LIBRARIES = ("numpy", "pandas", "scikit-learn", "skops", "onnxruntime", "tokenizers", "ftfy", "msgspec")

T = TypeVar("T")
Outcome = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class Tracker:
    """Tracks one flow run. It holds only identifiers, so that tasks in any thread or process can use it.

    Parameters
    ----------
    uri : str
        URI of MLflow's tracking store.
    experiment_id : str
    run_id : str
        Id of the parent run.
    process : str
        Machine and process id of the flow. Its runs count as abandoned once that process is gone, wherever the
        tasks run.
    """

    uri: str = field(repr=False)  # may hold a password
    experiment_id: str
    run_id: str
    process: str

    @classmethod
    @translate_mlflow_errors
    def open(
        cls,
        run_name: str,
        *,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        experiment: str = EXPERIMENT,
        uri: str | None = None,
    ) -> Self:
        """Start the parent run of a flow run.

        Parameters
        ----------
        run_name : str
        params : mapping, optional
            Options of the run; nested mappings are flattened to dotted names.
        tags : mapping, optional
            For example `data_digest`, `git_commit`, `git_clean`.
        experiment : str
            Created if it does not exist.
        uri : str, optional
            Default: `polarity.config.settings`.

        Raises
        ------
        ServiceUnavailable
            If MLflow does not respond.
        """
        uri = uri or settings().tracking_uri
        client = connect(uri)
        experiment_id = ensure_experiment(uri, experiment)
        process = f"{platform.node()}/{os.getpid()}"
        run = client.create_run(experiment_id, run_name=run_name, tags=_tags({PROCESS: process, **(tags or {})}))
        tracker = cls(uri, experiment_id, run.info.run_id, process)
        tracker.log_params(run.info.run_id, params or {})
        client.log_dict(run.info.run_id, library_versions(), "environment.json")
        return tracker

    def is_responding(self) -> bool:
        """Whether MLflow answers about this run."""
        try:
            self._ask()
        except ServiceUnavailable:
            return False
        return True

    @translate_mlflow_errors
    def _ask(self) -> None:
        connect(self.uri).get_run(self.run_id)

    @translate_mlflow_errors
    def close(self, outcome: Outcome = "FINISHED") -> None:
        """End the parent run, and mark attempts abandoned by a dead worker as killed."""
        client = connect(self.uri)
        running = f"tags.`{PARENT}` = '{self.run_id}' and attributes.status = 'RUNNING'"
        for attempt in client.search_runs([self.experiment_id], running):
            client.set_terminated(attempt.info.run_id, "KILLED")
        client.set_terminated(self.run_id, outcome)

    @translate_mlflow_errors
    def start_candidate(
        self, name: str, *, family: str, params: Mapping[str, Any], tags: Mapping[str, str] | None = None
    ) -> str:
        """Start a candidate's child run and return its id. Each attempt of a retried fit gets its own run."""
        kept = {
            PARENT: self.run_id,
            PROCESS: self.process,
            "candidate": name,
            "family": family,
            "cached": "false",
            **(tags or {}),
        }
        run = connect(self.uri).create_run(self.experiment_id, run_name=name, tags=_tags(kept))
        run_id: str = run.info.run_id
        self.log_params(run_id, params)
        return run_id

    @translate_mlflow_errors
    def record_cached(
        self,
        name: str,
        *,
        family: str,
        original_run_id: str,
        params: Mapping[str, Any],
        metrics: Mapping[str, Metrics],
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Write the child run of a candidate that was not fitted again, and return its id.

        Its artefacts stay with the run that produced them, `original_run_id`.
        """
        known = {"cached": "true", "original_run_id": original_run_id, **(tags or {})}
        run_id = self.start_candidate(name, family=family, params=params, tags=known)
        self.log_metrics(run_id, metrics)
        self.finish(run_id)
        return run_id

    @contextmanager
    def heartbeat(self, *, interval_s: float = HEARTBEAT_S) -> Iterator[None]:
        """Say on the parent run, while the block lasts, that the flow is alive; also after MLflow was away."""
        over = threading.Event()

        def beat() -> None:
            while True:
                with suppress(Exception):  # MLflow is away: the next one counts
                    connect(self.uri).set_tag(self.run_id, HEARTBEAT, str(time.time()))
                if over.wait(interval_s):
                    return

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(interval_s)

    @contextmanager
    def system_metrics(self, run_id: str, *, interval_s: float = 2.0) -> Iterator[None]:
        """Log this machine's CPU, memory, disk, network and GPU to a run while the block lasts (MLflow's monitor)."""
        connect(self.uri)
        with system_metrics(run_id, self.uri, interval_s=interval_s):
            yield

    @translate_mlflow_errors
    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Log options; nested mappings become dotted names, long values are cut."""
        from mlflow.entities import Param

        flat = [Param(key, str(value)[:PARAM_LENGTH]) for key, value in _flat(params)]
        for batch in _batches(flat):
            connect(self.uri).log_batch(run_id, params=batch)

    @translate_mlflow_errors
    def log_metrics(
        self, run_id: str, metrics: Mapping[str, Metrics], figures: Mapping[str, float] | None = None
    ) -> None:
        """Log the metrics of splits as `<split>_<figure>`, e.g. `validation_accuracy`, and `figures` by their names.

        This also works on a finished run, so that the test split can be measured after model selection.
        """
        numbers = dict(figures or {})
        for split, measured in metrics.items():
            numbers |= measured.scalars(split)
        self._log_numbers(run_id, [(name, value, 0) for name, value in numbers.items()])

    @translate_mlflow_errors
    def log_history(self, run_id: str, history: History) -> None:
        """Log the learning curve as `curve/<figure>`, one step per epoch."""
        points = [
            (f"curve/{name}", value, step)
            for step, epoch in zip(epoch_numbers(history), history.epochs, strict=True)
            for name, value in epoch.items()
            if name != "epoch"
        ]
        self._log_numbers(run_id, points)

    @translate_mlflow_errors
    def log_artifacts(self, run_id: str, path: Path, *, to: str | None = None) -> None:
        """Store a copy of a file, or of all files in a folder, under `to`."""
        if path.is_dir():
            connect(self.uri).log_artifacts(run_id, str(path), to)
        else:
            connect(self.uri).log_artifact(run_id, str(path), to)

    @translate_mlflow_errors
    def log_model(self, run_id: str, folder: Path, *, name: str, tags: Mapping[str, str] | None = None) -> str:
        """Store the packaged model in `folder` as an MLflow model of the run, loadable as a pyfunc.

        It has no signature: with one, MLflow would refuse a list of texts, and `polarity.pyfunc` checks its input.

        Returns
        -------
        str
            `models:/<id>`, which `polarity.registry.versions.register` takes.
        """
        import mlflow.pyfunc
        from mlflow.entities import LoggedModelOutput

        client = connect(self.uri)
        with tempfile.TemporaryDirectory() as scratch:
            saved = Path(scratch, "model")
            mlflow.pyfunc.save_model(
                saved,
                loader_module="polarity.pyfunc",
                data_path=str(folder),
                # Given explicitly, or MLflow loads the model in a new process to infer them.
                pip_requirements=[f"{library}=={version(library)}" for library in SERVING_LIBRARIES],
            )
            model = client.create_logged_model(
                self.experiment_id, name=name, source_run_id=run_id, tags=dict(tags or {}), model_type="classifier"
            )
            client.log_model_artifacts(model.model_id, str(saved))
        client.finalize_logged_model(model.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        uri: str = model.model_uri
        return uri

    @translate_mlflow_errors
    def finish(self, run_id: str, outcome: Outcome = "FINISHED", *, message: str | None = None) -> None:
        """End a candidate's run; `message` is the reason of a failure."""
        client = connect(self.uri)
        if message:
            client.set_tag(run_id, "mlflow.note.content", message[:NOTE_LENGTH])
        client.set_terminated(run_id, outcome)

    @translate_mlflow_errors
    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run."""
        from mlflow.entities import RunTag

        connect(self.uri).log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def link(self, run_id: str | None = None) -> str:
        """URL of a run (default: the parent) in the MLflow UI."""
        return f"{settings().mlflow_ui_url}/#/experiments/{self.experiment_id}/runs/{run_id or self.run_id}"

    def write_id(self, folder: Path, run_id: str, *, model_version: int | None = None) -> Path:
        """Write `mlflow_id.json` into a candidate's folder of the run."""
        path = folder / "mlflow_id.json"
        folder.mkdir(parents=True, exist_ok=True)
        known = {
            "run_id": run_id,
            "parent_run_id": self.run_id,
            "experiment_id": self.experiment_id,
            "model_version": model_version,
            "link": self.link(run_id),
        }
        path.write_text(json.dumps(known, indent=2) + "\n")
        return path

    def _log_numbers(self, run_id: str, numbers: Sequence[tuple[str, float, int]]) -> None:
        from mlflow.entities import Metric

        now_ms = time.time_ns() // 1_000_000
        for batch in _batches([Metric(name, float(value), now_ms, step) for name, value, step in numbers]):
            connect(self.uri).log_batch(run_id, metrics=batch)


def epoch_numbers(history: History) -> list[int]:
    """The number of each epoch: its metric `epoch` if present, else its position."""
    return [int(epoch.get("epoch", place)) for place, epoch in enumerate(history.epochs, 1)]


@dataclass(frozen=True)
class Attempt:
    """A run that MLflow lists as running.

    `process` is the id of the process that writes it, or None if that runs on a different machine; `started_s` and
    `heartbeat_s` are the times of its start and of its flow's last heartbeat, in seconds since the epoch.
    """

    uri: str
    run_id: str
    name: str
    process: int | None
    started_s: float
    heartbeat_s: float

    @property
    def is_alive(self) -> bool:
        """Whether the flow that writes it is alive: its process, or on another machine its heartbeat."""
        if self.process is None:
            return time.time() - self.heartbeat_s < EXPIRY_S
        try:
            return bool(psutil.Process(self.process).create_time() <= self.started_s + 1)
        except psutil.Error:
            return False

    @translate_mlflow_errors
    def mark_killed(self) -> None:
        """Set the run's status in MLflow to `KILLED`."""
        connect(self.uri).set_terminated(self.run_id, "KILLED")


@translate_mlflow_errors
def ensure_experiment(uri: str, name: str = EXPERIMENT) -> str:
    """Return the id of an experiment, which is created if it does not exist.

    MLflow's pages show its table of runs, rather than those about language models.
    """
    client = connect(uri)
    with lock(uri):
        found = client.get_experiment_by_name(name)
        if found is None:
            experiment_id: str = client.create_experiment(name, artifact_location=_artifact_location(uri))
        else:
            experiment_id = found.experiment_id
        if found is None or found.tags.get(_KIND) != _MACHINE_LEARNING:
            client.set_experiment_tag(experiment_id, _KIND, _MACHINE_LEARNING)
    return experiment_id


@translate_mlflow_errors
def running_attempts(uri: str, experiment: str = EXPERIMENT) -> list[Attempt]:
    """All runs of the experiment that MLflow lists as running."""
    client = connect(uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    running = list(client.search_runs([found.experiment_id], "attributes.status = 'RUNNING'"))
    beats = {run.info.run_id: float(run.data.tags.get(HEARTBEAT, 0)) for run in running}
    attempts = []
    for run in running:
        host, _, process = run.data.tags.get(PROCESS, "").partition("/")
        here = int(process) if host == platform.node() and process.isdigit() else None
        started_s = run.info.start_time / 1000
        beat = max(started_s, beats.get(run.data.tags.get(PARENT, run.info.run_id), 0.0))
        attempts.append(Attempt(uri, run.info.run_id, run.info.run_name, here, started_s, beat))
    return attempts


def library_versions() -> dict[str, str]:
    """Versions of the installed libraries that can change a result."""
    found: dict[str, str] = {}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def _artifact_location(uri: str) -> str | None:
    """Where runs store artefacts: a server has its own location, a database needs one."""
    return None if uri.startswith("http") else settings().artifact_root


def _tags(tags: Mapping[str, str] | None) -> dict[str, str]:
    kept = {key: str(value) for key, value in (tags or {}).items()}
    if commit := kept.get("git_commit"):
        kept["mlflow.source.git.commit"] = commit
    return kept


def _flat(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
