"""Many texts, classified in a thread, so that the page stays usable and can stop it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from page.service import MAX_TEXTS, Prediction, Service, ServiceAway, ServiceRefused

_RETRY_S, _PATIENCE_S = 1.0, 60.0
_TOO_MANY = 429


class BatchJob:
    """Asks the service for the sentiments of texts, part by part.

    A service that is away or busy is asked again for a minute; what has been answered by then is kept.

    Parameters
    ----------
    service : Service
    texts : sequence of str
    language : str
        Of the reasons why a text is refused.
    """

    def __init__(self, service: Service, texts: Sequence[str], language: str) -> None:
        self._service = service
        self._texts = texts
        self._language = language
        self._stop = threading.Event()
        self.answers: list[Prediction | str] = []
        self.waiting = False
        self.problem: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="batch", daemon=True)
        self._thread.start()

    @property
    def total(self) -> int:
        """The number of texts."""
        return len(self._texts)

    @property
    def running(self) -> bool:
        """Whether texts are still being answered."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Ask for nothing more; the answers so far are kept."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        for start in range(0, self.total, MAX_TEXTS):
            part = self._texts[start : start + MAX_TEXTS]
            try:
                answers = self._patiently(part)
            except (ServiceAway, ServiceRefused) as error:
                self.problem = error
                return
            if answers is None:
                return
            self.answers += answers

    def _patiently(self, part: Sequence[str]) -> list[Prediction | str] | None:
        """The answers; None if the job was stopped meanwhile."""
        deadline = time.monotonic() + _PATIENCE_S
        while not self._stop.is_set():
            try:
                answers = self._service.predict_batch(part, self._language)
            except (ServiceAway, ServiceRefused) as error:
                busy = isinstance(error, ServiceAway) or error.status == _TOO_MANY
                if not busy or time.monotonic() > deadline:
                    raise
                self.waiting = True
                self._stop.wait(_RETRY_S)
            else:
                self.waiting = False
                return answers
        return None
