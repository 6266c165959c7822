"""The whole loop, as `make loop` runs it on generated tweets, and what it leaves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from polarity.config.settings import PROJECT

pytestmark = [pytest.mark.soak, pytest.mark.timeout(2700)]


def run_loop(home: Path, *options: str) -> tuple[str, dict[str, Any]]:
    """Run the loop on generated tweets; return what it printed, and `loop.json`."""
    done = subprocess.run(
        [sys.executable, "-m", "ops.loop", "--generated", *options],
        cwd=PROJECT,
        env={**os.environ, "POLARITY_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    (folder,) = (home / "runs").iterdir()
    assert {path.name for path in folder.iterdir()} == {"loop.json", "loop.png", "story.txt"}
    return done.stdout, json.loads((folder / "loop.json").read_text())


def test_the_loop_closes_by_itself(tmp_path: Path) -> None:
    """Drift is found, a training follows, its candidate takes over without a lost request, a bad one goes back."""
    _, found = run_loop(tmp_path)
    assert (found["sent"], found["lost"]) == (found["answered"], 0)

    ordinary = [window["alarm"] for window in found["windows"] if window["kind"] == "ordinary"]
    assert len(ordinary) >= 20 and not any(ordinary)
    assert found["detected_after_windows"] in (1, 2)
    assert any("drift" in subject for subject in found["mails"])
    assert found["seconds_to_new_champion"] > 0

    low, high = found["after"]["interval"]
    assert low <= found["after"]["accuracy"] <= high
    assert found["after"]["accuracy"] >= found["before"]["accuracy"] + 0.04
    first, second = dict.fromkeys(window["champion"] for window in found["windows"])
    assert first != second

    assert [move["share"] for move in found["canary"]] == [0.0, 0.01, 0.05, 0.25, 0.5, 1.0]
    assert [move["decision"] for move in found["canary"]] == ["up"] * 5 + ["promoted"]
    assert all(move["labels"] > 0 for move in found["canary"][3:]), "more than five per cent takes evidence"
    assert found["bad_challenger"]["decision"].startswith("back")
    assert found["bad_challenger"]["answers"] < 0.05 * found["sent"]


def test_the_loop_closes_although_each_process_is_killed_in_each_part_of_it(tmp_path: Path) -> None:
    """A killed server loses requests, but no answer; the registry, the Bentos and the results stay consistent."""
    story, found = run_loop(tmp_path, "--kill")
    killed = Counter(re.findall(r"kill -9: ([^.]+)\.", story))
    assert killed == {
        "a monitor": 5,
        "the server": 5,
        "the challenger": 2,
        "the training": 1,
        "the training of train/on-drift": 1,
        "its training": 1,
    }
    assert 0 < found["lost"] < 0.2 * found["sent"]
    assert found["canary"][-1]["decision"] == "promoted"
    assert found["bad_challenger"]["decision"].startswith("back")
    assert "finds the registry, the Bentos and the results consistent" in story
