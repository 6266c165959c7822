"""Invalid inputs exit with code 2 and one clear message; nothing is trained or registered."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.terminal import run_from_shell, show_summary
from flows.train import train
from polarity.pipeline.config import TrainConfig
from polarity.registry.versions import Registry

pytestmark = pytest.mark.usefixtures("prefect_server", "home")

GOOD = "label,text\n" + "".join(f"{4 * (i % 2)},tweet number {i} of a good set\n" for i in range(600))


def _write(name: str, content: bytes) -> Callable[[Path], list[str]]:
    def arguments(folder: Path) -> list[str]:
        (folder / name).write_bytes(content)
        return ["--profile", "standard", "--data.path", str(folder / name)]

    return arguments


def _option(*options: str) -> Callable[[Path], list[str]]:
    return lambda folder: [*_write("good.csv", GOOD.encode())(folder), *options]


def _vectors(content: str) -> Callable[[Path], list[str]]:
    def arguments(folder: Path) -> list[str]:
        (folder / "glove.txt").write_text(content)
        return [*_write("good.csv", GOOD.encode())(folder), "--bilstm.vectors", str(folder / "glove.txt")]

    return arguments


DUPLICATES = "label,text\n" + "".join(
    f"{4 * (i % 2)},{'the same again' if i % 5 < 2 else f'tweet number {i}'}\n" for i in range(600)
)
CASES: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "empty": (_write("t.csv", b""), "t.csv is empty"),
    "header only": (_write("t.csv", b"label,text\n"), "has a header but no row"),
    "no text column": (_write("t.csv", GOOD.replace("text", "words", 1).encode()), "no text column found"),
    "strange labels": (_write("t.csv", GOOD.replace("\n4,", "\n7,").encode()), "--data.label_map"),
    "labels that can be read in two ways": (
        _write("t.csv", GOOD.replace("\n4,", "\n2,").encode()),
        "the labels are 0, 2, which can be read in more than one way",
    ),
    "a few strange labels": (_write("t.csv", GOOD.replace("\n4,", "\n7,", 30).encode()), "'7'"),
    "a picture": (
        _write("t.csv", b"\x89PNG\r\n\x1a\n" + bytes(300)),
        "t.csv is a binary file (Portable Network Graphics file)",
    ),
    "cut off": (_write("t.csv.gz", gzip.compress(GOOD.encode())[:-40]), "damaged or cut off"),
    "a web page": (_write("t.csv", b"<!doctype html><title>Log in</title>"), "is a web page (HTML)"),
    "too many fields": (_write("t.csv", GOOD.replace("set\n", "set, well, ok\n", 60).encode()), "--data.quoting false"),
    "one class": (_write("t.csv", re.sub(r"\n[04],", "\nneg,", GOOD).encode()), "no row is labelled ['positive']"),
    "duplicates": (_write("t.csv", DUPLICATES.encode()), "repeat the text of an earlier row"),
    "no such file": (lambda folder: ["--data.path", str(folder / "none.csv")], "none.csv does not exist"),
    "no encoder": (_option("--distilbert.encoder", "/nowhere/distilbert"), "/nowhere/distilbert"),
    "vectors of two lengths": (_vectors("good 0.1 0.2 0.3\nbad 0.1 0.2\n"), "glove.txt', line 2: found 2 numbers"),
    "a vector with a NaN": (_vectors("good 0.1 0.2\nbad 0.1 nan\n"), "glove.txt', line 2: nan is not a finite number"),
    "a wrong option": (_option("--distilbert.epoch", "3"), "did you mean --distilbert.epochs"),
    "a wrong value": (_option("--distilbert.epochs", "many"), "distilbert.epochs: got 'many'"),
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_input_exits_with_code_2_and_a_remedy(
    case: str, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, message = CASES[case]
    monkeypatch.setattr(sys, "argv", ["train", *arguments(tmp_path)])
    with pytest.raises(SystemExit) as done:
        run_from_shell(train, TrainConfig, prog="train", show=show_summary)
    assert done.value.code == 2
    output = capsys.readouterr()
    assert message in output.err
    assert "Traceback" not in output.out + output.err
    assert not list((home / "store").glob("fit-*")), "something was trained"
    assert Registry.open().versions() == ()


def test_invalid_input_exits_with_code_2_in_a_subprocess(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "flows.train", "--profile", "standard", "--data.path", str(path)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 2
    assert f"{path} is empty" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_the_message_names_a_path_with_brackets_and_a_percent_sign_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "no[such]" / "fi%le.csv"
    done = subprocess.run(
        [sys.executable, "-m", "flows.train", "--profile", "standard", "--data.path", str(path)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 2
    assert f"python -m flows.train: {path} does not exist" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
