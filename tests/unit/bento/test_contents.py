"""A Bento carries every module that its service, its recorder and its model import."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from polarity.config.settings import PROJECT

PROGRAM = """
import importlib, json, pkgutil, sys
import polarity
for found in pkgutil.walk_packages(polarity.__path__, "polarity."):
    if ".migrations." not in found.name:  # run by Alembic alone
        importlib.import_module(found.name)
from polarity.families.registry import families
print(json.dumps({"families": [*families()], "files": [
    module.__file__ for name, module in sys.modules.items() if name.startswith("polarity.")
]}))
"""


def test_all_modules_of_a_bento_load_from_its_files(tmp_path: Path) -> None:
    for pattern in yaml.safe_load((PROJECT / "bentofile.yaml").read_text())["include"]:
        for file in PROJECT.glob(pattern):
            target = tmp_path / file.relative_to(PROJECT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {"logistic", "bilstm", "distilbert", "bert", "roberta"} <= set(found["families"])
    assert all(Path(file).is_relative_to(tmp_path) for file in found["files"])
