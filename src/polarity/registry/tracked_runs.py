"""The runs that MLflow keeps of past flows: what they are, and how to delete them for good."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from polarity.errors import ServiceUnavailable
from polarity.registry.mlflow_client import connect, translate_mlflow_errors
from polarity.registry.tracking import EXPERIMENT, PARENT

if TYPE_CHECKING:
    from mlflow.entities import Run

FOLDER_TAG = "run_folder"
_PAGE = 1000
_GC_TIMEOUT_S = 600
_IDS_PER_CALL = 100


@dataclass(frozen=True)
class TrackedRun:
    """The parent run of a flow with its candidates.

    Parameters
    ----------
    family : tuple of str
        Run ids of the parent and its children.
    folder : str
        The flow's own folder; empty if it has none.
    started : datetime
    running : bool
        Whether any of them is marked as running.
    artifacts : tuple of Path
        The folders of their artifacts, where those are on this machine.
    """

    family: tuple[str, ...]
    folder: str
    started: datetime
    running: bool
    artifacts: tuple[Path, ...]


@translate_mlflow_errors
def tracked_runs(uri: str, experiment: str = EXPERIMENT) -> list[TrackedRun]:
    """All flows that MLflow has runs of, oldest first."""
    client = connect(uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    runs: list[Run] = []
    token: str | None = None
    while True:
        page = client.search_runs([found.experiment_id], max_results=_PAGE, page_token=token)
        runs.extend(page)
        token = page.token
        if not token:
            break
    families: dict[str, list[Run]] = {}
    for run in runs:
        families.setdefault(run.data.tags.get(PARENT, run.info.run_id), []).append(run)
    tracked = [_tracked(parent, of) for parent, of in families.items()]
    return sorted(tracked, key=lambda run: run.started)


@translate_mlflow_errors
def delete_tracked_runs(uri: str, run_ids: Sequence[str]) -> bool:
    """Delete runs with their artifacts. Behind a tracking server, they are only marked; `mlflow gc` there ends them.

    Raises
    ------
    ServiceUnavailable
        If `mlflow gc` fails; the runs are then marked as deleted, and the next call to it deletes them.
    """
    client = connect(uri)
    for run_id in run_ids:
        client.delete_run(run_id)
    if uri.startswith("http"):
        return True
    for start in range(0, len(run_ids), _IDS_PER_CALL):
        ids = ",".join(run_ids[start : start + _IDS_PER_CALL])
        # the only public way to delete a run for good
        command = [sys.executable, "-m", "mlflow", "gc", "--backend-store-uri", uri, "--run-ids", ids]
        done = subprocess.run(
            command,
            env={**os.environ, "MLFLOW_TRACKING_URI": uri},
            capture_output=True,
            text=True,
            timeout=_GC_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            reason = done.stderr.strip()[-500:]
            raise ServiceUnavailable(f"`mlflow gc` failed with exit code {done.returncode}: {reason}")
    return True


def _tracked(parent: str, runs: Sequence[Run]) -> TrackedRun:
    folders = [run.data.tags[FOLDER_TAG] for run in runs if run.info.run_id == parent and FOLDER_TAG in run.data.tags]
    return TrackedRun(
        family=tuple(run.info.run_id for run in runs),
        folder=folders[0] if folders else "",
        started=datetime.fromtimestamp(min(run.info.start_time for run in runs) / 1000, UTC),
        running=any(run.info.status == "RUNNING" for run in runs),
        artifacts=tuple(path for run in runs if (path := _local(run.info.artifact_uri)) is not None and path.exists()),
    )


def _local(uri: str) -> Path | None:
    """The folder of a run's artifacts, if it is on this machine."""
    parts = urlsplit(uri)
    if parts.scheme not in ("", "file"):
        return None
    return Path(url2pathname(parts.path) if parts.scheme else uri)
