"""Delete what is older than POLARITY_LOG_KEEP_DAYS, from time to time."""

from __future__ import annotations

import logging
import threading
import time

from polarity.record.options import RecordOptions
from polarity.record.store import Forgotten, opened_record

_logger = logging.getLogger("bentoml.polarity")

_SECONDS_PER_DAY = 86_400
_FIRST_AFTER_S, _INTERVAL_S = 60.0, 3_600.0


def prune(options: RecordOptions) -> Forgotten:
    """Delete what is older than the options allow, in the local file and in the database.

    Raises
    ------
    ServiceUnavailable
        If a store cannot be used.
    """
    with opened_record(options) as store:
        return store.forget_before(time.time() - options.log_keep_days * _SECONDS_PER_DAY)


class Retention:
    """A thread that prunes the record once an hour; a failure is logged and tried again an hour later."""

    def __init__(self, options: RecordOptions) -> None:
        self._options = options
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        wait_s = _FIRST_AFTER_S
        while not self._stopping.wait(wait_s):
            wait_s = _INTERVAL_S
            try:
                prune(self._options)
            except Exception as error:
                _logger.warning("Old rows of the record could not be deleted: %s", error)

    def close(self) -> None:
        """Stop; a deletion that is under way is completed or undone by the database."""
        self._stopping.set()
