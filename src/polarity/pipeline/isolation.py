"""Run a job in a process of its own: its memory, its global state and its crashes stay there.

The child is `python -m polarity.pipeline.isolation MODULE:FUNCTION JOB.json`. It reports how far it is on its
standard output, a JSON object per line, and leaves its results in the job's folder. It dies with its parent and is
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
from polarity.errors import PolarityError, ServiceUnavailable
from polarity.pipeline.faults import as_polarity_error

Listener = Callable[[float, str, Mapping[str, float]], None]
_PR_SET_PDEATHSIG = 1
_LOG_TAIL_LINES = 15
EXIT_EXPECTED = 3  # the child ended with a PolarityError, which its last message holds


def run_isolated(
    function: str,
    job: Mapping[str, Any],
    *,
    folder: Path,
    timeout_s: float,
    listen: Listener,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Call `function` on `job` in a process of its own, and wait for it.

    Parameters
    ----------
    function : str
        `MODULE:FUNCTION` of what to call: it takes the job and a `report(fraction, message, **metrics)`.
    job : mapping
        What to do, as JSON.
    folder : Path
        Where the job's file and the child's log are kept.
    timeout_s : float
        Seconds after which the child is killed.
    listen : callable
        Called with (fraction, message, metrics) for every report of the child.
    environment : mapping, optional
        Variables added to the child's environment.

    Raises
    ------
    PolarityError
        The child's own, of the same class.
    ServiceUnavailable
        If the child was killed, ran out of time, or broke down: worth another try.
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
                continue  # a library that prints
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
        raise ServiceUnavailable(f"{function} (process {child.pid}) was killed after its {timeout_s:g} s.")
    if code < 0:
        raise ServiceUnavailable(f"{function} (process {child.pid}) was killed by {signal.Signals(-code).name}.")
    tail = "\n".join(log_file.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
    raise ServiceUnavailable(
        f"{function} (process {child.pid}) broke down with exit code {code}. The end of its log:\n{tail}"
    )


def child_main() -> None:
    """The child's side: read the job, call the function, and end in a way that the parent understands."""
    module, _, name = sys.argv[1].partition(":")
    die_with_parent(int(sys.argv[3]) if len(sys.argv) > 3 else None)
    # Reports have the standard output to themselves; what a library prints goes to the log.
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
            _break_down()
        print(json.dumps({"error": type(expected).__name__, "message": str(expected)}), file=channel)
        channel.flush()
        os._exit(EXIT_EXPECTED)
    except BaseException:
        _break_down()
    channel.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    # TensorFlow's threads can hold up a normal exit for seconds
    os._exit(0)


def _break_down() -> NoReturn:
    with suppress(OSError):  # the log may be what finds no room
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(1)


def die_with_parent(parent: int | None) -> None:
    """Let the kernel kill this process when the thread that started it is gone; end at once if it is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)  # the parent died before the signal was asked for


if __name__ == "__main__":
    child_main()
