"""The finished trainings in the folder of the runs, with the links that lead on from each."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from polarity.errors import PolarityError
from polarity.evaluation.summary import SUMMARY_FILE, RunSummary

_PAGES = {"report": "report.html", "data_docs": "data_docs/index.html"}


def finished_runs(runs: Path, mlflow_ui_url: str) -> list[tuple[str, RunSummary, dict[str, str]]]:
    """Read the summaries of all finished trainings.

    Parameters
    ----------
    runs : Path
        The folder of the runs.
    mlflow_ui_url : str
        Address of MLflow's pages.

    Returns
    -------
    list of (str, RunSummary, dict)
        Folder name, summary, and links by name: `report`, `data_docs`, `mlflow`, `files`. Those to files begin with
        `runs/`. The newest first.
    """
    found = []
    for path in runs.glob(f"*/{SUMMARY_FILE}"):
        try:
            summary = RunSummary.read(path.parent)
        except (OSError, ValueError, PolarityError):  # half-written, or of something else than a training
            continue
        name = path.parent.name
        folder = f"runs/{quote(name)}/"
        links = {key: folder + page for key, page in _PAGES.items() if (path.parent / page).is_file()}
        shown = next((m for m in summary.models if m.name == summary.verdict.selected), None)
        if shown is not None:
            links["mlflow"] = f"{mlflow_ui_url}/#/runs/{shown.mlflow_run_id}"
        found.append((name, summary, {**links, "files": folder}))
    return sorted(found, key=lambda one: one[1].started, reverse=True)


def as_json(runs: Path, mlflow_ui_url: str) -> list[dict[str, Any]]:
    """The same as plain values: each summary with its `links`."""
    return [
        {**summary.model_dump(mode="json"), "links": links} for _, summary, links in finished_runs(runs, mlflow_ui_url)
    ]
