"""Progress of a fit, in the log and in the Prefect UI."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from logging import Logger
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.logging.loggers import LoggingAdapter

from flows.outages import prefect_is_responding

REPORT_EVERY_S = 5.0


def noted(log: LoggingAdapter | Logger, name: str) -> Callable[[str], None]:
    """Return a function that logs a sentence about a fit."""
    return lambda sentence: log.warning("%s: %s", name, sentence)


class FitProgress:
    """Reports the progress of a fit: a log line every few seconds, and a progress artifact."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._log = get_run_logger()
        self._last = 0.0
        self._artifact: UUID | None = None

    def __call__(self, fraction: float, message: str, metrics: Mapping[str, float]) -> None:
        now = time.monotonic()
        if now - self._last < REPORT_EVERY_S and fraction < 1:
            return
        self._last = now
        figures = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if name != "epoch")
        summary = f"{message} ({figures})" if figures else message
        self._log.info("%s %3.0f %%  %s", self._model, 100 * fraction, summary)
        # Prefect's client would try for a minute, and the fit's next reports would wait.
        if prefect_is_responding():
            with suppress(httpx.HTTPError):  # the fit goes on, and the next report counts
                self._show(100 * fraction, summary)

    def _show(self, percent: float, summary: str) -> None:
        if self._artifact is None:
            created = create_progress_artifact(progress=0.0, key=f"fit-{self._model}", description=summary)
            self._artifact = created if isinstance(created, UUID) else None
        if self._artifact is not None:
            update_progress_artifact(self._artifact, progress=percent, description=summary)
