from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from polarity.pipeline.fingerprint import Fingerprint
from polarity.pipeline.store import Store


def fingerprint(value: str = "a") -> Fingerprint:
    return Fingerprint("probe", {"parameter:value": value})


def write(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "result.txt").write_text("done")


def test_a_stored_result_is_not_created_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = store.run(fingerprint(), write)
    assert not first.cached
    second = store.run(fingerprint(), lambda folder: pytest.fail("made again"))
    assert second.cached
    assert (second.folder / "sub" / "result.txt").read_text() == "done"
    assert not store.run(fingerprint("b"), write).cached


def test_an_altered_missing_or_added_file_is_a_miss(tmp_path: Path) -> None:
    store = Store(tmp_path)
    result = store.run(fingerprint(), write).folder / "sub" / "result.txt"
    for harm in (
        lambda: result.write_text("altered"),
        result.unlink,
        lambda: (result.parent / "more.txt").write_text("added"),
        lambda: (tmp_path / "probe" / f"{fingerprint().key}.json").write_text("{"),
    ):
        harm()
        assert store.recall(fingerprint()) is None
        assert not store.run(fingerprint(), write).cached
        assert store.recall(fingerprint()) is not None


def test_partial_results_are_ignored(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def break_down(folder: Path) -> None:
        write(folder)
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        store.run(fingerprint(), break_down)
    assert store.recall(fingerprint()) is None
    assert [path for path in (tmp_path / "probe").iterdir() if path.is_dir()] == []
    assert not store.run(fingerprint(), write).cached


SLOWLY = """
import sys, time
from pathlib import Path
from polarity.pipeline.fingerprint import Fingerprint
from polarity.pipeline.store import Store

def slowly(folder):
    with open(sys.argv[2], "a") as log:
        log.write("made\\n")
    time.sleep(1)
    (folder / "result.txt").write_text("done")

Store(Path(sys.argv[1])).run(Fingerprint("probe", {"parameter:value": "a"}), slowly)
"""


def test_two_processes_create_a_result_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOWLY, str(tmp_path / "store"), str(tmp_path / "made.log")]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert (tmp_path / "made.log").read_text() == "made\n"


def test_a_forgotten_result_is_created_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.run(fingerprint(), write)
    store.forget(fingerprint())
    assert not store.run(fingerprint(), write).cached
