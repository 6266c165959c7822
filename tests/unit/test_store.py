from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import pytest

from polarity.provenance import Fingerprint
from polarity.store import Store


def fingerprint(value: str = "a") -> Fingerprint:
    return Fingerprint("probe", {"parameter:value": value})


def write(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "result.txt").write_text("done")


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
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


def test_half_done_work_counts_for_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def break_down(folder: Path) -> None:
        write(folder)
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        store.run(fingerprint(), break_down)
    assert store.recall(fingerprint()) is None
    assert [path for path in (tmp_path / "probe").iterdir() if path.is_dir()] == []
    assert not store.run(fingerprint(), write).cached


def _make(store: Path, made: Path) -> None:
    def slowly(folder: Path) -> None:
        with made.open("a") as log:
            log.write("made\n")
        time.sleep(0.5)
        write(folder)

    Store(store).run(fingerprint(), slowly)


def test_two_processes_make_a_result_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("fork")
    both = [spawn.Process(target=_make, args=(tmp_path / "store", tmp_path / "made.log")) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(30)
        assert process.exitcode == 0
    assert (tmp_path / "made.log").read_text() == "made\n"


def test_a_forgotten_result_is_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.run(fingerprint(), write)
    store.forget(fingerprint())
    assert not store.run(fingerprint(), write).cached
