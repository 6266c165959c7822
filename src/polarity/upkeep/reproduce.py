"""Bring a past run back: its configuration, its data and its code, fitted anew, beside what it measured then.

The code comes from the run's commit in a work tree of its own; the data from the store, by the digest in the run's
summary, whatever has become of the file it was read from. Nothing is recalled but the data: the reproduction has a
store of its own, and unless it is told otherwise a registry and a Bento store of its own, too.
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
from polarity.pipeline.revision import git
from polarity.pipeline.store import Store

CONFIG_FILE = "config.json"
LOCK_FILE = "requirements.lock"
ENTRY = Path("flows", "rerun.py")
LAST_SCRIPT = "4fe29e2d"
"""The last commit whose runs are started by a script that imports modules by their old paths."""
REPRODUCED = "reproduced"
REPRODUCTION_FILE = "reproduction.json"
_SPLITS = ("train", "validation", "test")
_FIGURES = ("accuracy", "macro_f1", "log_loss")
_WITH_INTERVAL = ("accuracy", "macro_f1")
_PLACES = ("POLARITY_HOME", "POLARITY_RUNS", "POLARITY_MLFLOW_URI", "POLARITY_MLFLOW_ARTIFACTS", "BENTOML_HOME")


@dataclass(frozen=True)
class PastRun:
    """A run as its folder tells of it."""

    folder: Path
    config: Mapping[str, Any]
    """As it was written; another version of the code may know other options."""
    summary: RunSummary


@dataclass(frozen=True)
class ReproducedFigure:
    """One figure of one model, then and now, and whether that counts as the same."""

    model: str
    split: str
    figure: str
    then: float
    now: float
    agrees: bool


@dataclass(frozen=True)
class Reproduction:
    """A past run beside its reproduction."""

    then: RunSummary
    now: RunSummary
    folder: Path
    figures: tuple[ReproducedFigure, ...]

    @property
    def agrees(self) -> bool:
        """Whether every figure is the same, to the last digit or within its interval, as its family allows."""
        return all(figure.agrees for figure in self.figures)

    def table(self) -> list[dict[str, str]]:
        """The figures side by side, as people read them."""
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
    """The training run of this id.

    Raises
    ------
    ConfigurationError
        If there is none, or it did not end.
    """
    folder = runs / run_id
    known = sorted(path.parent.name for path in runs.glob(f"*/{CONFIG_FILE}"))
    if run_id not in known:
        near = get_close_matches(run_id, known, n=1)
        told = f"Did you mean {near[0]}?" if near else f"The newest are {', '.join(known[-3:]) or 'none: train first'}."
        raise ConfigurationError(f"There is no training run {run_id!r} in {runs}. {told}")
    try:
        return PastRun(folder, json.loads((folder / CONFIG_FILE).read_text()), RunSummary.read(folder))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"The run {run_id} has no {SUMMARY_FILE} that can be read ({error}): it did not end, so there is nothing "
            "to compare with."
        ) from error


def find_snapshot(store: Store, digest: str) -> Snapshot:
    """The data set of this digest.

    Raises
    ------
    ConfigurationError
        If the store does not have it any more, whole.
    """
    for result in store.results():
        if result.step == "ingest" and digest in result.made and (folder := store.fetch(result)):
            return read_snapshot(folder)
    raise ConfigurationError(
        f"The store {store} has no snapshot {digest[:12]}... any more, so that the run's data cannot be brought back: "
        "it was pruned, or damaged. If you still have the file it was read from, ingest it again: a training on it "
        "makes the same snapshot."
    )


def remarks(past: PastRun, project: Path = PROJECT) -> list[str]:
    """What may keep a reproduction from agreeing, in words.

    Raises
    ------
    ConfigurationError
        If the repository does not have the run's commit.
    """
    commit, run_id = past.summary.git_commit, past.summary.run_id
    if git(project, "cat-file", "-e", f"{commit}^{{commit}}") is None:
        raise ConfigurationError(
            f"The run {run_id} is of commit {commit}, which the repository {project} does not have; fetch it first."
        )
    found = []
    if not past.summary.git_clean:
        found.append(f"The run {run_id} had changes that were not committed; what follows is commit {commit} as it is.")
    if git(project, "diff", "--quiet", commit, "--", LOCK_FILE) is None:
        found.append(f"{LOCK_FILE} has changed since; the libraries are those of today.")
    return found


def reproduce(past: PastRun, snapshot: Snapshot, *, promote: bool = False) -> Reproduction:
    """Run the code of a past run's commit on its data with its configuration, and compare.

    Parameters
    ----------
    past : PastRun
    snapshot : Snapshot
        The data of that run.
    promote : bool
        Let it register and promote as any run does. Default: it does so in a registry and a Bento store of its own,
        which are deleted at the end.

    Raises
    ------
    PolarityError
        The run's own; `ServiceUnavailable` if it broke down.
    """
    run_id = past.summary.run_id
    with tempfile.TemporaryDirectory(prefix="polarity-reproduce-") as scratch_name:
        scratch = Path(scratch_name)
        with _work_tree(past.summary.git_commit, scratch / "code") as code:
            config, outcome = scratch / CONFIG_FILE, scratch / "outcome.json"
            config.write_text(json.dumps(_as_it_was(past.config, scratch / "source"), indent=1))
            done = subprocess.run(
                [sys.executable, *_entry(code, scratch), str(config), str(snapshot.folder), str(outcome)],
                cwd=code,
                env=_environment(code, scratch, promote=promote),
                check=False,
            )
        if not outcome.exists():
            raise ServiceUnavailable(
                f"The reproduction of {run_id} broke down with exit code {done.returncode}; its log is above."
            )
        ended: dict[str, str] = json.loads(outcome.read_text())
        if "error" in ended:
            raise ended_with(ended["kind"], f"The reproduction of {run_id} failed: {ended['error']}")
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


def ended_with(kind: str, message: str) -> PolarityError:
    """The error of this name, with a message."""
    kinds: dict[str, type[PolarityError]] = {found.__name__: found for found in PolarityError.__subclasses__()}
    return kinds.get(kind, ServiceUnavailable)(message)


def compare(then: RunSummary, now: RunSummary) -> tuple[ReproducedFigure, ...]:
    """The figures of two runs side by side.

    A family that is exact must agree to the last digit, intervals and all. Another agrees if accuracy and macro-F1 on
    validation and test lie within the 95 % intervals of before.

    Raises
    ------
    ArtifactError
        If the second run lacks a model of the first.
    """
    again = {model.name: model for model in now.models}
    missing = [model.name for model in then.models if model.name not in again]
    if missing:
        raise ArtifactError(
            f"The reproduction has no {', '.join(missing)}; the run had {[m.name for m in then.models]}."
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
    """The files of a commit, beside the repository."""
    git(PROJECT, "worktree", "prune")  # what a kill left
    if git(PROJECT, "worktree", "add", "--detach", str(folder), commit) is None:
        raise ArtifactError(f"git cannot make a work tree of {commit} at {folder}.")
    try:
        yield folder
    finally:
        git(PROJECT, "worktree", "remove", "--force", str(folder))


def _entry(code: Path, scratch: Path) -> list[str]:
    """How a work tree runs a training again: its own command, or for older commits the last script of before that."""
    if (code / ENTRY).exists():
        return ["-m", "flows.rerun"]
    script = git(PROJECT, "show", f"{LAST_SCRIPT}:flows/again.py")
    if script is None:
        raise ArtifactError(
            f"The run is of a commit before {ENTRY}; running it again needs commit {LAST_SCRIPT}, which {PROJECT} does "
            "not have. Fetch the whole history (git fetch --unshallow)."
        )
    (scratch / "again.py").write_text(script + "\n")
    return ["-P", str(scratch / "again.py")]


def _as_it_was(config: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """A run's configuration for a work tree elsewhere: a stand-in for its file, other paths from where we are."""
    kept = {name: value for name, value in _anchored(config).items() if name not in ("runner", "dask")}
    if path := config["data"].get("path"):
        source.mkdir()
        stand_in = source / Path(path).name
        stand_in.write_text("The snapshot is used in the place of this file.\n")
        kept["data"] = {**kept["data"], "path": str(stand_in)}
    return kept


def _anchored(config: Mapping[str, Any]) -> dict[str, Any]:
    """With every value that is a path from the current folder made absolute."""

    def anchored(value: Any) -> Any:
        if isinstance(value, Mapping):
            return _anchored(value)
        if isinstance(value, str) and os.sep in value and Path(value).exists():
            return str(Path(value).absolute())
        return value

    return {name: anchored(value) for name, value in config.items()}


def _environment(code: Path, scratch: Path, *, promote: bool) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if promote or name not in _PLACES}
    if promote:
        kept["POLARITY_HOME"] = str(settings().home.absolute())
        kept["POLARITY_RUNS"] = str(settings().runs_folder)
    else:
        kept |= {"POLARITY_HOME": str(scratch), "BENTOML_HOME": str(scratch / "bentoml")}
    return {
        **kept,
        "POLARITY_STORE": str(scratch / "store"),
        # before the place to which an editable install leads
        "PYTHONPATH": os.pathsep.join([str(code), str(code / "src")]),
    }
