from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from polarity.errors import ConfigurationError, PolarityError, ProcessKilled, ServiceUnavailable
from polarity.pipeline.faults import worth_retrying
from polarity.pipeline.isolation import run_isolated

TESTS = Path(__file__).parent


@pytest.fixture(autouse=True)
def _import_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))


def run(do: str, folder: Path, timeout_s: float = 60) -> list[tuple[float, str, Mapping[str, float]]]:
    heard: list[tuple[float, str, Mapping[str, float]]] = []
    job = {"do": do, "to": str(folder / "out.txt")}
    run_isolated("isolated_job:work", job, folder=folder, timeout_s=timeout_s, listen=lambda *call: heard.append(call))
    return heard


def test_progress_is_reported_and_the_work_is_done(tmp_path: Path) -> None:
    assert run("finish", tmp_path) == [(0.5, "half way", {"loss": 0.25})]
    assert (tmp_path / "out.txt").read_text() == "done"
    assert "a library that prints" in (tmp_path / "log.txt").read_text()


def test_an_expected_error_comes_back_as_itself(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="this option is wrong"):
        run("refuse", tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is full")
def test_a_full_disk_is_reported_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailable, match=r"The disk is full \(No space left on device.*POLARITY_HOME"):
        run("fill the disk", tmp_path)


@pytest.mark.parametrize(("do", "message"), [("break", "out of luck"), ("kill", "killed by SIGKILL")])
def test_a_child_that_dies_is_worth_a_retry(tmp_path: Path, do: str, message: str) -> None:
    with pytest.raises(ServiceUnavailable, match=message):
        run(do, tmp_path)


def test_a_killed_child_has_its_signal_and_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(ProcessKilled, match=r"The end of its log:\na library that prints") as killed:
        run("kill", tmp_path)
    assert killed.value.signal == "SIGKILL"
    again = pickle.loads(pickle.dumps(killed.value))  # Dask sends it
    assert (str(again), again.signal) == (str(killed.value), "SIGKILL")


def test_a_child_that_hangs_is_killed_at_its_timeout_and_not_worth_a_retry(tmp_path: Path) -> None:
    with pytest.raises(PolarityError, match=r"killed at its timeout of 2 s.*--faults\.fit_timeout_s") as late:
        run("hang", tmp_path, timeout_s=2)
    assert not worth_retrying(late.value)
    assert not _alive(int((tmp_path / "out.txt").read_text()))


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from test_isolation import run; run('hang', Path(sys.argv[1]))",
            str(tmp_path),
        ]
    )
    out = tmp_path / "out.txt"
    _until(lambda: out.exists() and out.read_text() != "")
    child = int(out.read_text())
    assert _alive(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait(10)
    _until(lambda: not _alive(child))


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


def _until(condition: object, patience_s: float = 60) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
