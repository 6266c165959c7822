"""Record predictions without ever delaying or failing a request.

Requests append rows to a bounded in-memory queue; a thread writes them in
batches. Rows that do not fit because the store is slow or unavailable are dropped
and counted. A killed process loses the rows it had not yet written: about a tenth
of a second's worth.
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
_MAX_ROWS_PER_WRITE = 1_000
_MAX_PAUSE_S = 10.0
# How long feedback waits for a prediction that another worker has made but not yet written.
_OTHER_WORKERS_DELAY_S = 3 * _GATHER_S


class PredictionLog:
    """A queue in front of a store.

    Parameters
    ----------
    open_store : callable
        Opens the store; called in the thread that uses it, and again after a failure.
    limit : int
        Maximum number of rows waiting to be written.
    report : callable, optional
        Called with the numbers of rows written and dropped so far, after each attempt to write.

    Attributes
    ----------
    written, dropped : int
        Number of rows written to the store, and number of rows discarded.
    """

    def __init__(
        self,
        open_store: Callable[[], LogStore],
        *,
        limit: int = 50_000,
        report: Callable[[int, int], None] | None = None,
    ) -> None:
        self._open_store = open_store
        self._report = report
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
        """Queue `row` for writing; never blocks, never raises."""
        if len(self._rows) >= self._limit:
            self.dropped += 1
            return
        self._rows.append(row)
        if not self._awake.is_set():
            self._awake.set()

    async def feedback(self, prediction_id: str, label: str) -> Outcome:
        """Store the true label of a prediction.

        Raises
        ------
        ServiceUnavailable
            If the store cannot be reached.
        """
        loop = asyncio.get_running_loop()

        async def store() -> Outcome:
            return await loop.run_in_executor(self._feedback_thread, self._feedback, prediction_id, label)

        outcome = await store()
        if outcome == "unknown":
            # It may be so recent that it is not yet written, by this or another worker.
            await asyncio.sleep(_OTHER_WORKERS_DELAY_S)
            outcome = await store()
        return outcome

    def close(self) -> None:
        """Write the remaining rows, then stop."""
        self._closing.set()
        self._awake.set()
        self._writer.join(timeout=_MAX_PAUSE_S)
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
                while rows := [_storable(self._rows[n]) for n in range(min(len(self._rows), _MAX_ROWS_PER_WRITE))]:
                    store.write(rows)
                    for _ in rows:
                        self._rows.popleft()
                    self.written += len(rows)
                if pause_s > _GATHER_S:
                    _logger.warning(
                        "The prediction log is writable again; %d rows have been dropped so far.",
                        self.dropped,
                    )
                pause_s = _GATHER_S
            except Exception as error:
                if pause_s == _GATHER_S:
                    _logger.warning(
                        "The prediction log cannot be written (%s); requests are still answered.",
                        error,
                    )
                store = None
                pause_s = min(2 * pause_s, _MAX_PAUSE_S)
                self._awake.set()
            if self._report is not None:
                self._report(self.written, self.dropped)
            if self._closing.is_set():
                break
        if store is not None:
            store.close()


def _storable(row: Row) -> Row:
    """Replace what databases reject: lone surrogates, and NUL in PostgreSQL."""
    if row.text is None:
        return row
    return row._replace(text=row.text.encode("utf-8", "replace").decode().replace("\0", "\ufffd"))
