"""Collecting from files: half-written, growing, replaced and refused ones; no tweet is lost or doubled by a kill."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest

from polarity.config.sections import CollectedFilesConfig, GateConfig
from polarity.config.settings import PROJECT
from polarity.data.collection import Collection, Harvest, collect
from polarity.errors import ConfigurationError
from polarity.text.origins import COLLECTED, DISTANT, ORIGIN

LABELS = ("negative", "positive")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def write(path: Path, *numbers: int, label: str = "positive", age_s: float = 120) -> None:
    path.write_text("text,label\n" + "".join(f"tweet number {n},{label}\n" for n in numbers))
    at = path.stat().st_mtime - age_s
    os.utime(path, (at, at))


def look(path: Path | str, collection: Path, **options: object) -> Harvest:
    config = CollectedFilesConfig.model_validate({"path": str(path), **options})
    return collect(config, LABELS, GateConfig(), collection)


def texts(collection: Path) -> list[str]:
    return sorted(Collection(collection).tweets()["text"].to_pylist())


def test_a_file_is_read_once(inbox: Path, tmp_path: Path) -> None:
    write(inbox / "a.csv", 1, 2)
    (inbox / "half.csv.part").write_text("text,la")
    (inbox / ".hidden.csv").write_text("text,la")
    first, second = look(inbox, tmp_path / "c"), look(inbox, tmp_path / "c")
    assert [entry.counts for entry in first.read] == [{COLLECTED: 2}]
    assert (second.read, second.unchanged) == ([], 1)
    assert texts(tmp_path / "c") == ["tweet number 1", "tweet number 2"]


def test_a_file_that_changes_waits_and_one_that_grew_is_read_again(inbox: Path, tmp_path: Path) -> None:
    write(inbox / "a.csv", 1, age_s=5)
    assert list(look(inbox, tmp_path / "c").waiting.values()) == ["it changed 5 s ago"]
    write(inbox / "a.csv", 1)
    look(inbox, tmp_path / "c")
    write(inbox / "a.csv", 1, 2)
    look(inbox, tmp_path / "c")
    assert texts(tmp_path / "c") == ["tweet number 1", "tweet number 2"]


def test_a_replaced_file_keeps_its_earlier_tweets_with_their_latest_labels(inbox: Path, tmp_path: Path) -> None:
    write(inbox / "a.csv", 1, 2)
    look(inbox, tmp_path / "c")
    write(inbox / "a.csv", 2, 3, label="negative")
    look(inbox, tmp_path / "c")
    rows = Collection(tmp_path / "c").tweets().select(["text", "label"]).to_pylist()
    assert sorted(map(tuple, map(dict.values, rows))) == [
        ("tweet number 1", "positive"), ("tweet number 2", "negative"), ("tweet number 3", "negative"),
    ]  # fmt: skip


def test_a_bad_file_is_refused_and_read_again_when_it_changed(inbox: Path, tmp_path: Path) -> None:
    write(inbox / "a.csv", 1, 2, label="maybe")
    (entry,) = look(inbox, tmp_path / "c").read
    assert entry.problem is not None
    assert "not fit for training" in entry.problem
    assert look(inbox, tmp_path / "c").unchanged == 1
    write(inbox / "a.csv", 1)
    look(inbox, tmp_path / "c")
    assert texts(tmp_path / "c") == ["tweet number 1"]


def test_unlabelled_tweets_are_labelled_by_emoticon_on_request(inbox: Path, tmp_path: Path) -> None:
    path = inbox / "a.csv"
    path.write_text("text\nso good :)\nso bad :(\nboth :) :(\nneither\n:)\n")
    (refused,) = look(inbox, tmp_path / "c", settle_s=0).read
    assert "no column of labels" in (refused.problem or "")
    (entry,) = look(inbox, tmp_path / "c", settle_s=0, distant=True).read
    assert entry.counts == {
        DISTANT: 2, "without an emoticon": 1, "with contradicting emoticons": 1, "nothing but emoticons": 1,
    }  # fmt: skip
    rows = Collection(tmp_path / "c").tweets().to_pylist()
    assert rows == [
        {"text": "so good", "label": "positive", ORIGIN: DISTANT},
        {"text": "so bad", "label": "negative", ORIGIN: DISTANT},
    ]
    with pytest.raises(ConfigurationError, match="emoticons only say"):
        collect(CollectedFilesConfig(path=str(inbox), distant=True), ("good", "bad"), GateConfig(), tmp_path / "c")


def test_any_address_of_fsspec_can_be_watched(tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    with files.open("/inbox/day/a.csv", "w") as file:
        file.write("text,label\nfrom afar,positive\n")
    try:
        (entry,) = look("memory://inbox", tmp_path / "c", settle_s=0).read
        assert entry.address == "memory:///inbox/day/a.csv"
        assert look("memory://inbox", tmp_path / "c", settle_s=0).unchanged == 1
        assert texts(tmp_path / "c") == ["from afar"]
    finally:
        files.rm("/inbox", recursive=True)
    with pytest.raises(ConfigurationError, match="does not exist"):
        look(tmp_path / "missing", tmp_path / "c")


_KILLED = """
import os, signal, sys
from pathlib import Path
from polarity.config.sections import CollectedFilesConfig, GateConfig
from polarity.data.collection import collect
left = int(sys.argv[3])
def hook(event, arguments):
    global left
    if event in ("open", "os.rename", "os.remove", "tempfile.mkdtemp") and sys.argv[2] in str(arguments):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
collect(CollectedFilesConfig(path=sys.argv[1]), ("negative", "positive"), GateConfig(), Path(sys.argv[2]))
"""


@pytest.mark.parametrize("step", [10, pytest.param(1, marks=pytest.mark.soak)])
def test_a_kill_at_any_change_of_the_collection_neither_loses_nor_doubles(
    step: int, inbox: Path, tmp_path: Path
) -> None:
    """The process is killed at its first access to the collection, and later and later, until it survives."""
    write(inbox / "a.csv", 1, 2)
    write(inbox / "b.csv", 3)
    for left in range(0, 50, step):
        collection = tmp_path / f"c{left}"
        command = [sys.executable, "-c", _KILLED, str(inbox), str(collection), str(left)]
        environment = {**os.environ, "PYTHONPATH": f"{PROJECT / 'src'}"}
        killed = subprocess.run(command, env=environment, check=False, timeout=120).returncode != 0
        look(inbox, collection)
        assert texts(collection) == ["tweet number 1", "tweet number 2", "tweet number 3"]
        assert not list(collection.glob(".*.unfinished"))
        if not killed:
            assert left > 0
            return
    pytest.fail("the process never got to its end")
