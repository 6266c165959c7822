"""Faults from outside: what a disk refuses, in words, and which errors are worth another try."""

from __future__ import annotations

import errno
import sqlite3

from polarity.config.settings import settings
from polarity.errors import ConfigurationError, PolarityError, ServiceUnavailable

# What may be better in a moment: files, the network, a process that was killed, a locked database.
PASSING = (ServiceUnavailable, OSError, TimeoutError, EOFError, sqlite3.OperationalError)

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}


def worth_retrying(error: BaseException | None) -> bool:
    """Whether the same work may succeed when it is done again.

    Errors in the data or in the configuration never pass by waiting; what a
    server, a disk or a killed process answers may.
    """
    if isinstance(error, PolarityError):
        return isinstance(error, ServiceUnavailable)
    return isinstance(error, PASSING) and not isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError)


def as_polarity_error(error: OSError) -> PolarityError | None:
    """The error that says what to do about a full disk or a folder that cannot be written; None for any other.

    A full disk may have room in a moment, so it is worth another try; a folder that may not be written is not.
    """
    where = error.filename or f"under {settings().home}, its store or its runs"
    if error.errno in _FULL:
        return ServiceUnavailable(
            f"The disk is full ({error.strerror}: {where}). Free some of it, or name a folder on another one with "
            "POLARITY_HOME; then give the same command again: what is finished is kept."
        )
    if error.errno in _REFUSED:
        return ConfigurationError(
            f"{where} cannot be written ({error.strerror}). Make it writable, or name another folder with "
            "POLARITY_HOME, POLARITY_STORE or POLARITY_RUNS (Bentos: BENTOML_HOME)."
        )
    return None
