"""Progress of a fit, in the log and in the Prefect UI."""

from __future__ import annotations

import time
from collections.abc import Mapping
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact

REPORT_EVERY_S = 5.0


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
        if self._artifact is None:
            created = create_progress_artifact(progress=0.0, key=f"fit-{self._model}", description=summary)
            self._artifact = created if isinstance(created, UUID) else None
        if self._artifact is not None:
            update_progress_artifact(self._artifact, progress=100 * fraction, description=summary)
