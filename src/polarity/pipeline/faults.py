"""External faults: readable messages for file-system errors, and which errors are worth a retry."""

from __future__ import annotations

import errno
import sqlite3

from polarity.config.settings import settings
from polarity.errors import ConfigurationError, PolarityError, ServiceUnavailable

# Possibly transient: files, the network, a killed process, a locked database.
TRANSIENT = (ServiceUnavailable, OSError, TimeoutError, EOFError, sqlite3.OperationalError)

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}


def worth_retrying(error: BaseException | None) -> bool:
    """Whether the same work may succeed on a retry.

    Errors in the data or the configuration are permanent; those of a server,
    a disk or a killed process may be transient.
    """
    if isinstance(error, PolarityError):
        return isinstance(error, ServiceUnavailable)
    return isinstance(error, TRANSIENT) and not isinstance(
        error, FileNotFoundError | PermissionError | IsADirectoryError
    )


def as_polarity_error(error: OSError) -> PolarityError | None:
    """Convert the error of a full disk or an unwritable folder to one that names the remedy; None for any other.

    A full disk may have space again later, so it is worth a retry; an unwritable folder is not.
    """
    where = error.filename or f"under {settings().home}, its store or its runs"
    if error.errno in _FULL:
        return ServiceUnavailable(
            f"The disk is full ({error.strerror}: {where}). Free some space, or set POLARITY_HOME to a folder on a "
            "different disk; then run the same command again: finished steps are kept."
        )
    if error.errno in _REFUSED:
        return ConfigurationError(
            f"{where} cannot be written ({error.strerror}). Make it writable, or choose a different folder with "
            "POLARITY_HOME, POLARITY_STORE or POLARITY_RUNS (Bentos: BENTOML_HOME)."
        )
    return None
