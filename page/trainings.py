"""Trainings over HTTP: what `make ui` serves of the runs, and Prefect's API, which starts them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

import httpx

DEPLOYMENT = "train/on-demand"
"""The deployment that trains on a file; its parameters are the operator's."""
_TIMEOUT = httpx.Timeout(10.0, connect=2.0)
_MAX_STEPS = 200


class NotThere(Exception):
    """The address does not answer, or answers something else."""


@dataclass(frozen=True)
class Progress:
    """How far a flow run is.

    Attributes
    ----------
    state : str
        Prefect's type of it, such as RUNNING or COMPLETED.
    message : str
        What Prefect says of the state, such as the reason of a failure.
    done, running : list of str
        Names of the steps.
    report : str or None
        Address of the report of a finished run.
    """

    state: str
    message: str
    done: list[str]
    running: list[str]
    report: str | None

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Trainings:
    """The finished trainings, and the one that runs.

    Parameters
    ----------
    runs_url : str
        Where `make ui` serves the runs.
    prefect_url : str
        Prefect's API.
    login : str
        User and password of Prefect's API, `user:password`; empty: none.

    Raises
    ------
    NotThere
        By every method.
    """

    def __init__(self, runs_url: str, prefect_url: str, login: str = "") -> None:
        self.runs_url, self.prefect_url = runs_url, prefect_url
        user, _, password = login.partition(":")
        self._client = httpx.Client(timeout=_TIMEOUT, follow_redirects=True)
        self._login = httpx.BasicAuth(user, password) if login else None

    def finished(self) -> list[dict[str, Any]]:
        """The summaries of all finished trainings, the newest first, with the addresses of their pages in `links`."""
        found: list[dict[str, Any]] = self._json("GET", f"{self.runs_url}/runs.json")
        for one in found:
            one["links"] = {name: urljoin(f"{self.runs_url}/", link) for name, link in one["links"].items()}
        return found

    def can_start(self) -> bool:
        """Whether Prefect answers and has the deployment; never raises."""
        try:
            self._deployment()
        except NotThere:
            return False
        return True

    def start(self, data: dict[str, str]) -> str:
        """Start a training on data, given as the options of `data`; return the id of the flow run."""
        deployment = self._deployment()
        config = copy.deepcopy(deployment["parameters"].get("config") or {})
        config["data"] = {**(config.get("data") or {}), "source": "file", **data}
        body = {"parameters": {**deployment["parameters"], "config": config}, "state": {"type": "SCHEDULED"}}
        address = f"{self.prefect_url}/deployments/{deployment['id']}/create_flow_run"
        return str(self._json("POST", address, body)["id"])

    def progress(self, flow_run: str) -> Progress:
        """How far a flow run is."""
        state = self._json("GET", f"{self.prefect_url}/flow_runs/{flow_run}").get("state") or {}
        of_run = {"flow_runs": {"id": {"any_": [flow_run]}}}
        query = {**of_run, "sort": "EXPECTED_START_TIME_ASC", "limit": _MAX_STEPS}
        steps = self._json("POST", f"{self.prefect_url}/task_runs/filter", query)
        by_state = {kind: [one["name"] for one in steps if one["state_type"] == kind] for kind in _SHOWN}
        named = {**of_run, "artifacts": {"key": {"any_": ["report"]}}}
        reports = self._json("POST", f"{self.prefect_url}/artifacts/filter", named)
        # Prefect stores a link as Markdown.
        report = str(reports[0]["data"]).rpartition("(")[2].rstrip(")") if reports else None
        done, running = (by_state[kind] for kind in _SHOWN)
        return Progress(state.get("type", "PENDING"), state.get("message") or "", done, running, report)

    def _deployment(self) -> dict[str, Any]:
        found: dict[str, Any] = self._json("GET", f"{self.prefect_url}/deployments/name/{DEPLOYMENT}")
        return found

    def _json(self, method: str, address: str, body: Any = None) -> Any:
        login = self._login if address.startswith(self.prefect_url) else None
        try:
            response = self._client.request(method, address, json=body, auth=login)
            return response.raise_for_status().json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise NotThere(f"{address}: {error}") from error


_SHOWN = ("COMPLETED", "RUNNING")
