"""Which errors are worth another try."""

from __future__ import annotations

import sqlite3

from polarity.errors import PolarityError, ServiceUnavailable

# What may be better in a moment: files, the network, a process that was killed, a locked database.
PASSING = (ServiceUnavailable, OSError, TimeoutError, EOFError, sqlite3.OperationalError)


def worth_retrying(error: BaseException | None) -> bool:
    """Whether the same work may succeed when it is done again.

    Errors in the data or in the configuration never pass by waiting; what a
    server, a disk or a killed process answers may.
    """
    if isinstance(error, PolarityError):
        return isinstance(error, ServiceUnavailable)
    return isinstance(error, PASSING) and not isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError)
