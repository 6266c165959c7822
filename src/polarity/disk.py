"""What a file system refuses, in words: a full disk, a folder that cannot be written."""

from __future__ import annotations

import errno

from polarity.errors import ConfigurationError, PolarityError, ServiceUnavailable
from polarity.settings import settings

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}


def told(error: OSError) -> PolarityError | None:
    """The error that says what to do about `error`; none if it says nothing of the disk.

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
