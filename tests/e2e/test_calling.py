"""The examples of docs/calling.md, run against a served Bento."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from polarity.config.settings import PROJECT

PAGE = (PROJECT / "docs" / "calling.md").read_text()
EXAMPLES = re.findall(r"<!-- run: tests/e2e/test_calling\.py -->\n```(\w+)\n(.*?)```", PAGE, re.DOTALL)
INTERPRETERS = {"bash": ["bash", "-euo", "pipefail"], "python": [sys.executable], "js": ["node", "--input-type=module"]}


@pytest.mark.parametrize(
    ("language", "source"), EXAMPLES, ids=[f"{language}-{place}" for place, (language, _) in enumerate(EXAMPLES)]
)
def test_an_example_of_the_documentation_runs(language: str, source: str, base_url: str) -> None:
    """Each prints an answer of the server and ends without an error."""
    command = INTERPRETERS[language]
    for program in {command[0], "curl"} if language == "bash" else {command[0]}:
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    source = re.sub(r"(http://)?localhost:3000", base_url, source).replace("curl -s", "curl -sf --noproxy '*'")
    environment = {**os.environ, "NO_PROXY": "*", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        command, check=False, input=source, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert re.search("negative|positive|prediction_id", done.stdout), done.stdout


def test_every_way_to_call_has_an_example() -> None:
    assert {language for language, _ in EXAMPLES} == set(INTERPRETERS)
    assert "bentoml.SyncHTTPClient" in PAGE
