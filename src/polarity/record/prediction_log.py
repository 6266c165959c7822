"""Keep what was answered, without ever slowing or failing an answer.

Requests put rows into a bounded queue in memory; a thread writes them in
batches. What does not fit, because the store is slow or away, is dropped and
counted. A killed process loses what it had not written yet: a tenth of a
second's worth.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from polarity.errors import ServiceUnavailable
from polarity.record.log_store import LogStore, Outcome, Row

_logger = logging.getLogger("bentoml.polarity")

_GATHER_S = 0.1
_ROWS_AT_ONCE = 1_000
_LONGEST_PAUSE_S = 10.0
# How long feedback waits for a prediction that another worker answered and has not written yet.
_OTHER_WORKERS_S = 3 * _GATHER_S


class PredictionLog:
    """A queue in front of a store.

    Parameters
    ----------
    open_store : callable
        Opens the store; called in the thread that uses it, again after a failure.
    limit : int
        Most rows that wait to be written.
    tell : callable, optional
        Told how many rows were written and dropped so far, whenever that changes.

    Attributes
    ----------
    written, dropped : int
        Rows that the store has, and rows that were given up.
    """

    def __init__(
        self,
        open_store: Callable[[], LogStore],
        *,
        limit: int = 50_000,
        tell: Callable[[int, int], None] | None = None,
    ) -> None:
        self._open_store = open_store
        self._tell = tell
        self._limit = limit
        self._rows: deque[Row] = deque()
        self._awake = threading.Event()
        self._closing = threading.Event()
        self._feedback_store: LogStore | None = None
        self._feedback_thread = ThreadPoolExecutor(1, thread_name_prefix="feedback")
        self.written = 0
        self.dropped = 0
        self._writer = threading.Thread(target=self._write, name="prediction-log", daemon=True)
        self._writer.start()

    def add(self, row: Row) -> None:
        """Keep `row` soon; never waits, never raises."""
        if len(self._rows) >= self._limit:
            self.dropped += 1
            return
        self._rows.append(row)
        if not self._awake.is_set():
            self._awake.set()

    async def feedback(self, prediction_id: str, label: str) -> Outcome:
        """Keep the true label of a prediction.

        Raises
        ------
        ServiceUnavailable
            If the store cannot be reached.
        """
        loop = asyncio.get_running_loop()

        async def look() -> Outcome:
            return await loop.run_in_executor(self._feedback_thread, self._feedback, prediction_id, label)

        outcome = await look()
        if outcome == "unknown":
            # It may be so new that it is not written yet, here or by another worker.
            await asyncio.sleep(_OTHER_WORKERS_S)
            outcome = await look()
        return outcome

    def close(self) -> None:
        """Write what is left, then stop."""
        self._closing.set()
        self._awake.set()
        self._writer.join(timeout=_LONGEST_PAUSE_S)
        self._feedback_thread.shutdown()
        if self._feedback_store is not None:
            self._feedback_store.close()

    def _feedback(self, prediction_id: str, label: str) -> Outcome:
        try:
            if self._feedback_store is None:
                self._feedback_store = self._open_store()
            return self._feedback_store.feedback(prediction_id, label, time.time())
        except Exception as error:
            self._feedback_store = None
            raise ServiceUnavailable(f"The prediction log does not answer: {error}.") from error

    def _write(self) -> None:
        store: LogStore | None = None
        pause_s = _GATHER_S
        while True:
            self._awake.wait()
            self._awake.clear()
            self._closing.wait(pause_s)
            rows: list[Row] = []
            try:
                if store is None:
                    store = self._open_store()
                while rows := [_storable(self._rows[n]) for n in range(min(len(self._rows), _ROWS_AT_ONCE))]:
                    store.write(rows)
                    for _ in rows:
                        self._rows.popleft()
                    self.written += len(rows)
                if pause_s > _GATHER_S:
                    _logger.warning(
                        "The prediction log is back; %d rows were dropped so far.",
                        self.dropped,
                    )
                pause_s = _GATHER_S
            except Exception as error:
                if pause_s == _GATHER_S:
                    _logger.warning(
                        "The prediction log cannot be written (%s); answers go on without it.",
                        error,
                    )
                store = None
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                self._awake.set()
            if self._tell is not None:
                self._tell(self.written, self.dropped)
            if self._closing.is_set():
                break
        if store is not None:
            store.close()


def _storable(row: Row) -> Row:
    """No database takes a lone surrogate, nor PostgreSQL a NUL."""
    if row.text is None:
        return row
    return row._replace(text=row.text.encode("utf-8", "replace").decode().replace("\0", "\ufffd"))
