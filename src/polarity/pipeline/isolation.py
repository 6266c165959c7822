"""Run a job in a separate process, which isolates its memory, global state and crashes.

The child is `python -m polarity.pipeline.isolation MODULE:FUNCTION JOB.json`. It reports progress on its standard
output, one JSON object per line, and writes its results into the job's folder. It dies with its parent and is
killed at its timeout.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from polarity import errors
from polarity.errors import PolarityError, ProcessKilled, ServiceUnavailable
from polarity.pipeline.faults import as_polarity_error

Listener = Callable[[float, str, Mapping[str, float]], None]
_PR_SET_PDEATHSIG = 1
_LOG_TAIL_LINES = 15
EXIT_EXPECTED = 3  # the child ended with a PolarityError, contained in its last message


def run_isolated(
    function: str,
    job: Mapping[str, Any],
    *,
    folder: Path,
    timeout_s: float,
    listen: Listener,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Call `function` with `job` in a separate process and wait for it.

    Parameters
    ----------
    function : str
        What to call, as `MODULE:FUNCTION`; it takes the job and a `report(fraction, message, **metrics)`.
    job : mapping
        Description of the work, serialisable as JSON.
    folder : Path
        Folder of the job file and the child's log.
    timeout_s : float
        Seconds after which the child is killed.
    listen : callable
        Called with (fraction, message, metrics) for every report of the child.
    environment : mapping, optional
        Variables to add to the child's environment.

    Raises
    ------
    PolarityError
        The child's error, of the same class; or the child timed out, which is not worth a retry: the same work takes as
        long again.
    ProcessKilled, ServiceUnavailable
        If the child was killed or crashed: worth a retry.
    """
    folder.mkdir(parents=True, exist_ok=True)
    job_file, log_file = folder / "job.json", folder / "log.txt"
    job_file.write_text(json.dumps(job, indent=1, default=str))
    failure: dict[str, str] = {}
    with log_file.open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", __name__, function, str(job_file), str(os.getpid())],
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **(environment or {})},
            text=True,
        )
    alarm = threading.Timer(timeout_s, child.kill)
    alarm.daemon = True
    alarm.start()
    try:
        assert child.stdout is not None
        for line in child.stdout:
            try:
                report = json.loads(line)
            except ValueError:
                continue  # printed by a library
            if not isinstance(report, dict):
                continue
            if "error" in report:
                failure = report
            elif "fraction" in report:
                listen(float(report["fraction"]), str(report["message"]), report.get("metrics", {}))
        code = child.wait()
    finally:
        timed_out = not alarm.is_alive()
        alarm.cancel()
        if child.poll() is None:
            child.kill()
            child.wait()
    if code == 0:
        return
    if code == EXIT_EXPECTED and failure:
        kind = getattr(errors, failure["error"], PolarityError)
        raise kind(failure["message"])
    if timed_out:
        raise PolarityError(
            f"{function} (process {child.pid}) was killed at its timeout of {timeout_s:g} s. If it only needs more "
            "time, raise --faults.fit_timeout_s (a network continues from its last checkpoint), or reduce train_rows "
            "or the epochs."
        )
    tail = "\n".join(log_file.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
    ending = f" The end of its log:\n{tail}" if tail else ""
    if code < 0:
        name = signal.Signals(-code).name
        raise ProcessKilled(f"{function} (process {child.pid}) was killed by {name}.{ending}", name)
    raise ServiceUnavailable(f"{function} (process {child.pid}) crashed with exit code {code}.{ending}")


def child_main() -> None:
    """Run in the child: read the job, call the function, and report the outcome through the exit code."""
    module, _, name = sys.argv[1].partition(":")
    die_with_parent(int(sys.argv[3]) if len(sys.argv) > 3 else None)
    # Standard output is reserved for reports; what a library prints goes to the log.
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def report(fraction: float, message: str, **metrics: float) -> None:
        line = {"fraction": fraction, "message": message, "metrics": {name: float(v) for name, v in metrics.items()}}
        print(json.dumps(line), file=channel)

    try:
        work = getattr(importlib.import_module(module), name)
        work(json.loads(Path(sys.argv[2]).read_text()), report)
    except (PolarityError, OSError) as error:
        expected = as_polarity_error(error) if isinstance(error, OSError) else error
        if expected is None:
            _crash()
        print(json.dumps({"error": type(expected).__name__, "message": str(expected)}), file=channel)
        channel.flush()
        os._exit(EXIT_EXPECTED)
    except BaseException:
        _crash()
    channel.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    # TensorFlow's threads can delay a normal exit for seconds
    os._exit(0)


def _crash() -> NoReturn:
    with suppress(OSError):  # the disk may be too full for the log
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(1)


def die_with_parent(parent: int | None) -> None:
    """Have the kernel kill this process when its parent thread dies; exit immediately if it is already dead."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)  # the parent died before the signal was requested


if __name__ == "__main__":
    child_main()
