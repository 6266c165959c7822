"""External faults: readable messages for file-system errors, and which errors are worth a retry."""

from __future__ import annotations

import errno
import sqlite3

from polarity.config.settings import settings
from polarity.errors import ConfigurationError, PolarityError, ProcessKilled, ServiceUnavailable

# Possibly transient: files, the network, a killed process, a locked database.
TRANSIENT = (ServiceUnavailable, OSError, TimeoutError, EOFError, sqlite3.OperationalError)

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CRASH = "A library crashes on this machine: check that the installed packages are those of the lock."
_CAUSES = {
    "SIGKILL": "The machine has probably run out of memory (see the kernel's log): use fewer train_rows, a smaller "
    "batch_size, or fewer --models at once.",
    "SIGTERM": "Something stops it: look for a limit of the container, the service manager or the batch system.",
}
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


def after_a_kill(error: ProcessKilled, before: str | None) -> PolarityError:
    """The error of a killed process, given the signal that killed the previous try of the same work, if one did.

    Once may be an outage: somebody or another process needed the machine. The same signal twice in a row comes from the
    work itself, or from a limit that it exceeds, so it is not worth a third try.
    """
    if error.signal != before:
        return error
    return PolarityError(
        f"Two tries in a row were killed by {error.signal}, so it is not tried again. "
        f"{_CAUSES.get(error.signal, _CRASH)} {error}"
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
