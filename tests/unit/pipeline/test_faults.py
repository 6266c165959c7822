from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from polarity.errors import ConfigurationError, PolarityError, ProcessKilled, ServiceUnavailable
from polarity.pipeline.faults import after_a_kill, as_polarity_error, worth_retrying


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (errno.ENOSPC, ServiceUnavailable, "The disk is full (No space left on device: /data/x)"),
        (errno.EDQUOT, ServiceUnavailable, "The disk is full (Disk quota exceeded: /data/x)"),
        (errno.EROFS, ConfigurationError, "/data/x cannot be written (Read-only file system)"),
        (errno.EACCES, ConfigurationError, "/data/x cannot be written (Permission denied)"),
    ],
)
def test_a_refusal_by_the_disk_names_the_remedy(number: int, kind: type[PolarityError], message: str) -> None:
    error = as_polarity_error(OSError(number, os.strerror(number), "/data/x"))
    assert type(error) is kind
    assert str(error).startswith(message)
    assert "POLARITY_HOME" in str(error)


def test_a_missing_file_is_not_a_disk_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        (tmp_path / "none").read_text()
    assert as_polarity_error(missing.value) is None


def test_without_a_file_name_the_message_names_the_home_folder(home: Path) -> None:
    assert str(home) in str(as_polarity_error(OSError(errno.ENOSPC, "No space left on device")))


@pytest.mark.parametrize(("before", "again"), [(None, True), ("SIGSEGV", True), ("SIGKILL", False)])
def test_the_same_signal_twice_in_a_row_is_not_worth_a_third_try(before: str | None, again: bool) -> None:
    error = after_a_kill(ProcessKilled("the fit was killed by SIGKILL.", "SIGKILL"), before)
    assert worth_retrying(error) is again
    assert ("not tried again" in str(error)) is not again
    assert ("out of memory" in str(error)) is not again
    assert "the fit was killed by SIGKILL." in str(error)
