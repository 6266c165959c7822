"""Reproduce a past run from its configuration, data and code, and compare its figures with the original ones.

The code comes from the run's commit in a separate work tree. The data comes from the store, by the digest in the
run's summary, even if the source file has changed or is gone. Nothing but the data is reused: the reproduction has
its own result store and, by default, its own registry and Bento store.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from polarity.config.settings import PROJECT, settings
from polarity.data.snapshot import Snapshot, read_snapshot
from polarity.errors import ArtifactError, ConfigurationError, PolarityError, ServiceUnavailable
from polarity.evaluation.summary import SUMMARY_FILE, ModelSummary, RunSummary
from polarity.families.registry import family_named
from polarity.pipeline.config import TrainConfig
from polarity.pipeline.revision import git
from polarity.pipeline.store import Store
from polarity.registry.origin import line_of

CONFIG_FILE = "config.json"
LOCK_FILE = "requirements.lock"
ENTRY = Path("flows", "rerun.py")
LAST_SCRIPT_COMMIT = "4fe29e2d"
"""The last commit whose runs are started by a script that imports modules by their old paths."""
REPRODUCED = "reproduced"
REPRODUCTION_FILE = "reproduction.json"
_SPLITS = ("train", "validation", "test")
_FIGURES = ("accuracy", "macro_f1", "log_loss")
_WITH_INTERVAL = ("accuracy", "macro_f1")
_LOCATION_VARIABLES = (
    "POLARITY_HOME",
    "POLARITY_RUNS",
    "POLARITY_MLFLOW_URI",
    "POLARITY_MLFLOW_ARTIFACTS",
    "BENTOML_HOME",
)


@dataclass(frozen=True)
class PastRun:
    """A past run, as recorded in its folder."""

    folder: Path
    config: Mapping[str, Any]
    """As written at the time; a different version of the code may have different options."""
    summary: RunSummary


@dataclass(frozen=True)
class ReproducedFigure:
    """One figure of one model, then and now, and whether both agree."""

    model: str
    split: str
    figure: str
    then: float
    now: float
    agrees: bool


@dataclass(frozen=True)
class Reproduction:
    """A past run and its reproduction."""

    then: RunSummary
    now: RunSummary
    folder: Path
    figures: tuple[ReproducedFigure, ...]

    @property
    def agrees(self) -> bool:
        """Whether every figure agrees: to the last digit or within its interval, depending on the family."""
        return all(figure.agrees for figure in self.figures)

    def table(self) -> list[dict[str, str]]:
        """The figures side by side, formatted for display."""
        return [
            {
                "model": figure.model,
                "split": figure.split,
                "figure": figure.figure.replace("_", "-"),
                "then": repr(figure.then),
                "now": repr(figure.now),
                "agrees": "yes" if figure.agrees else "NO",
            }
            for figure in self.figures
        ]


def find_run(run_id: str, runs: Path) -> PastRun:
    """Find a finished training run by its id.

    Raises
    ------
    ConfigurationError
        If it does not exist or did not finish.
    """
    folder = runs / run_id
    known = sorted(path.parent.name for path in runs.glob(f"*/{CONFIG_FILE}"))
    if run_id not in known:
        near = get_close_matches(run_id, known, n=1)
        newest = f"The newest runs are {', '.join(known[-3:])}." if known else "Train first."
        hint = f"Did you mean {near[0]}?" if near else newest
        raise ConfigurationError(f"There is no training run {run_id!r} in {runs}. {hint}")
    try:
        return PastRun(folder, json.loads((folder / CONFIG_FILE).read_text()), RunSummary.read(folder))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"The run {run_id} has no readable {SUMMARY_FILE} ({error}): it did not finish, so there is nothing to "
            "compare with."
        ) from error


def find_snapshot(store: Store, digest: str) -> Snapshot:
    """Find a snapshot in the store by its digest.

    Raises
    ------
    ConfigurationError
        If the store no longer has it intact.
    """
    for result in store.results():
        if result.step == "ingest" and digest in result.outputs and (folder := store.fetch(result)):
            return read_snapshot(folder)
    raise ConfigurationError(
        f"Snapshot {digest[:12]}... is no longer in the store {store}: it was pruned or damaged, so the run's data "
        "cannot be restored. If you still have the source file, train on it once: ingesting it creates the same "
        "snapshot."
    )


def caveats(past: PastRun, project: Path = PROJECT) -> list[str]:
    """Reasons why a reproduction may not agree with the original run.

    Raises
    ------
    ConfigurationError
        If the repository does not have the run's commit.
    """
    commit, run_id = past.summary.git_commit, past.summary.run_id
    if git(project, "cat-file", "-e", f"{commit}^{{commit}}") is None:
        raise ConfigurationError(
            f"The run {run_id} is from commit {commit}, which the repository {project} does not have; fetch it first."
        )
    found = []
    if not past.summary.git_clean:
        found.append(f"The run {run_id} had uncommitted changes; commit {commit} is reproduced without them.")
    if git(project, "diff", "--quiet", commit, "--", LOCK_FILE) is None:
        found.append(f"{LOCK_FILE} has changed since the run; the libraries installed now are used.")
    return found


def reproduce(past: PastRun, snapshot: Snapshot, *, promote: bool = False) -> Reproduction:
    """Run a past run's commit again on its data with its configuration, and compare the figures.

    Parameters
    ----------
    past : PastRun
    snapshot : Snapshot
        The data of that run.
    promote : bool
        Whether to register and promote like any other run. By default the run uses a temporary registry and Bento
        store, which are deleted afterwards.

    Raises
    ------
    PolarityError
        The error of the run; `ServiceUnavailable` if it crashed.
    """
    run_id = past.summary.run_id
    with tempfile.TemporaryDirectory(prefix="polarity-reproduce-") as scratch_name:
        scratch = Path(scratch_name)
        with _work_tree(past.summary.git_commit, scratch / "code") as code:
            config, outcome = scratch / CONFIG_FILE, scratch / "outcome.json"
            config.write_text(json.dumps(_portable_config(past.config, scratch / "source"), indent=1))
            done = subprocess.run(
                [sys.executable, *_rerun_arguments(code, scratch), str(config), str(snapshot.folder), str(outcome)],
                cwd=code,
                env=_environment(code, scratch, promote=promote),
                check=False,
            )
        if not outcome.exists():
            raise ServiceUnavailable(
                f"The reproduction of {run_id} crashed with exit code {done.returncode}; its log is above."
            )
        ended: dict[str, str] = json.loads(outcome.read_text())
        if "error" in ended:
            raise error_of_kind(ended["kind"], f"The reproduction of {run_id} failed: {ended['error']}")
        made = Path(ended["folder"])
        folder = made if promote else past.folder / REPRODUCED / made.name
        if not promote:
            folder.parent.mkdir(exist_ok=True)
            shutil.move(made, folder)
    now = RunSummary.read(folder)
    reproduction = Reproduction(past.summary, now, folder, compare(past.summary, now))
    record = {"reproduces": run_id, "agrees": reproduction.agrees, "figures": reproduction.table()}
    (folder / REPRODUCTION_FILE).write_text(json.dumps(record, indent=1) + "\n")
    return reproduction


def error_of_kind(kind: str, message: str) -> PolarityError:
    """Create the project error with this class name; an unknown name gives a `ServiceUnavailable`."""
    kinds: dict[str, type[PolarityError]] = {found.__name__: found for found in PolarityError.__subclasses__()}
    return kinds.get(kind, ServiceUnavailable)(message)


def compare(then: RunSummary, now: RunSummary) -> tuple[ReproducedFigure, ...]:
    """Compare the figures of two runs.

    An exact family must agree to the last digit, intervals included. Any other family agrees if its accuracy and
    macro-F1 on validation and test lie within the original 95 % intervals.

    Raises
    ------
    ArtifactError
        If the second run lacks a model of the first run.
    """
    again = {model.name: model for model in now.models}
    missing = [model.name for model in then.models if model.name not in again]
    if missing:
        raise ArtifactError(
            f"The reproduction lacks {', '.join(missing)}; the original run had {[m.name for m in then.models]}."
        )
    return tuple(figure for model in then.models for figure in _compared(model, again[model.name]))


def _compared(then: ModelSummary, now: ModelSummary) -> Iterator[ReproducedFigure]:
    exact = family_named(then.family).traits.exact
    for split in _SPLITS:
        before, after = getattr(then, split), getattr(now, split)
        for figure in _FIGURES:
            if exact:
                same = all(before[name] == after[name] for name in before if name.startswith(figure))
            elif split == "train" or figure not in _WITH_INTERVAL:
                same = True
            else:
                low, high = before[f"{figure}_interval"]
                same = low <= after[figure] <= high
            yield ReproducedFigure(then.name, split, figure, before[figure], after[figure], same)


@contextmanager
def _work_tree(commit: str, folder: Path) -> Iterator[Path]:
    """A temporary Git work tree of a commit."""
    git(PROJECT, "worktree", "prune")  # remove what a killed process left
    if git(PROJECT, "worktree", "add", "--detach", str(folder), commit) is None:
        raise ArtifactError(f"git cannot create a work tree of {commit} at {folder}.")
    try:
        yield folder
    finally:
        git(PROJECT, "worktree", "remove", "--force", str(folder))


def _rerun_arguments(code: Path, scratch: Path) -> list[str]:
    """Python arguments that rerun a training in a work tree: `flows.rerun`, or the last script for older commits."""
    if (code / ENTRY).exists():
        return ["-m", "flows.rerun"]
    script = git(PROJECT, "show", f"{LAST_SCRIPT_COMMIT}:flows/again.py")
    if script is None:
        raise ArtifactError(
            f"The run's commit predates {ENTRY}, so rerunning it needs commit {LAST_SCRIPT_COMMIT}, which {PROJECT} "
            "does not have. Fetch the full history (git fetch --unshallow)."
        )
    (scratch / "again.py").write_text(script + "\n")
    return ["-P", str(scratch / "again.py")]


def _portable_config(config: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """A run's configuration for a different work tree: a placeholder for its data file, other paths made absolute."""
    kept = {name: value for name, value in _with_absolute_paths(config).items() if name not in ("runner", "dask")}
    if "line" in config:  # of a commit that knows lines; the placeholder would be another one
        kept |= {"line": line_of(TrainConfig.model_validate(config)), "promote": False}
    if path := config["data"].get("path"):
        source.mkdir()
        placeholder = source / Path(path).name
        placeholder.write_text("The snapshot is used instead of this file.\n")
        kept["data"] = {**kept["data"], "path": str(placeholder)}
    return kept


def _with_absolute_paths(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with every existing relative path made absolute."""

    def absolute(value: Any) -> Any:
        if isinstance(value, Mapping):
            return _with_absolute_paths(value)
        if isinstance(value, str) and os.sep in value and Path(value).exists():
            return str(Path(value).absolute())
        return value

    return {name: absolute(value) for name, value in config.items()}


def _environment(code: Path, scratch: Path, *, promote: bool) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if promote or name not in _LOCATION_VARIABLES}
    if promote:
        kept["POLARITY_HOME"] = str(settings().home.absolute())
        kept["POLARITY_RUNS"] = str(settings().runs_folder)
    else:
        kept |= {"POLARITY_HOME": str(scratch), "BENTOML_HOME": str(scratch / "bentoml")}
    return {
        **kept,
        "POLARITY_STORE": str(scratch / "store"),
        # must precede the path of an editable install
        "PYTHONPATH": os.pathsep.join([str(code), str(code / "src")]),
    }
