"""What the documentation shows is what the code does."""

from __future__ import annotations

import argparse
import ast
import itertools
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from polarity.config.command_line import parse_options
from polarity.config.settings import PROJECT
from polarity.pipeline.graph import GRAPH, mermaid
from polarity.pipeline.step import Step

DOCS = PROJECT / "docs"
EXTEND = (DOCS / "extend.md").read_text()
PAGES = sorted(path.relative_to(PROJECT).as_posix() for path in (*PROJECT.glob("*.md"), *DOCS.glob("*.md")))
SHELL = ("console", "bash")
PROGRAMS = {
    ".",
    "az",
    "bentoml",
    "curl",
    "docker",
    "export",
    "git",
    "kubectl",
    "make",
    "openssl",
    "pip",
    "polarity",
    "python",
    "uv",
}
OUTSIDE = ("bentos.gpu", "dask")
"""Modules whose command line is not checked here."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Parameters
    ----------
    page : str
    language : str
    source : str
    needs : str or None
        What it needs that a test does not have.
    tested_by : str or None
        The test that runs it. A block of commands with neither is run here.
    """

    page: str
    language: str
    source: str
    needs: str | None
    tested_by: str | None

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command, without comments and assignments."""
        lines = self.source.replace("\\\n", " ").splitlines()
        words = [re.sub(r"<[^>]*>|\$\([^)]*\)", "VALUE", line) for line in lines]
        return [split for line in words if (split := without_assignments(shlex.split(line, comments=True)))]


def without_assignments(words: list[str]) -> list[str]:
    return list(itertools.dropwhile(lambda word: re.match(r"[A-Z_]+=", word), words))


def blocks() -> Iterator[Block]:
    fence = r"(?:<!-- (needs|run): (.*?) -->\n)?```(\w+)\n(.*?)```"
    for page in PAGES:
        for kind, what, language, source in re.findall(fence, (PROJECT / page).read_text(), re.DOTALL):
            yield Block(page, language, source, what if kind == "needs" else None, what if kind == "run" else None)


BLOCKS = list(blocks())
COMMANDS = [
    (block.page, words)
    for block in BLOCKS
    if block.language in SHELL and not block.tested_by
    for words in block.commands
]
RUNNABLE = [block for block in BLOCKS if block.language in SHELL and not block.needs and not block.tested_by]
FLOWS = sorted({words[2] for _, words in COMMANDS if words[:2] == ["python", "-m"] and words[2].startswith("flows.")})
Parse = Callable[[list[str]], None]


@pytest.fixture(scope="module")
def parsers() -> Mapping[str, Parse]:
    """The command lines of the flows."""
    found: dict[str, Parse] = {}

    def keep(_flow: Any, model: Any, *, prog: str, actions: Any = None, run_actions: Any = None, **_: Any) -> None:
        def parse(arguments: list[str]) -> None:
            flags = {name: text for name, (text, _) in (actions or {}).items()}
            named = {name: text for name, (text, _) in (run_actions or {}).items()}
            parse_options(model, arguments, prog=prog, flags=flags, named=named)

        found[prog.removeprefix("python -m ")] = parse

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.terminal.run_from_shell", keep)
        for module in FLOWS:
            patch.delitem(sys.modules, module, raising=False)
            runpy.run_module(module, run_name="__main__")
    return found


class Parsed(Exception):
    """Raised in place of running a command that was understood."""


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=[f"{page}: {shlex.join(words)}" for page, words in COMMANDS])
def test_a_command_is_understood(
    page: str, words: list[str], parsers: Mapping[str, Parse], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Targets of make exist, and so do the options of the project's own commands."""
    assert words[0] in PROGRAMS or (PROJECT / words[0]).is_file(), f"{page}: unknown program {words[0]!r}"
    if words[0] == "polarity":  # the script that the package installs
        words = ["python", "-m", *words]
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):.*##", (PROJECT / "Makefile").read_text(), re.MULTILINE)
        assert words[1] in targets, f"{page}: the Makefile has no target {words[1]!r}"
    if words[:2] != ["python", "-m"] or words[2] in OUTSIDE:
        return
    (tmp_path / "best.json").write_text('{"logistic": {"c": 1.0}}')
    module, arguments = words[2], [word.replace("runs/VALUE", str(tmp_path)) for word in words[3:]]
    if module in parsers:
        parsers[module](arguments)
    elif module in ("polarity", "deploy"):
        parse = argparse.ArgumentParser.parse_args

        def parse_only(parser: argparse.ArgumentParser, *given: Any) -> None:
            parse(parser, *given)
            raise Parsed

        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
        monkeypatch.setattr(sys, "argv", [module, *(re.sub("^VALUE$", "1", word) for word in arguments)])
        with pytest.raises(Parsed):
            runpy.run_module(module, run_name="__main__")
    else:
        assert _exists(module), f"{page}: there is no module {module}"


def _exists(module: str) -> bool:
    path = PROJECT / module.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


@pytest.mark.parametrize("block", RUNNABLE, ids=[f"{block.page}: {block.commands[0]}" for block in RUNNABLE])
def test_a_block_without_a_mark_runs(block: Block, tmp_path: Path) -> None:
    """Commands that need nothing do what the page says: they end without an error."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.source],
        check=False,
        cwd=PROJECT,
        env={
            **os.environ,
            "POLARITY_HOME": str(tmp_path),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_a_test_that_a_block_names_reads_its_page() -> None:
    named = [block for block in BLOCKS if block.tested_by]
    assert named
    for block in named:
        source = (PROJECT / str(block.tested_by)).read_text()
        assert Path(block.page).name in source or Path(block.page).stem.upper() in source, (block.page, block.tested_by)


def test_what_is_not_run_here_says_how_it_is_tested() -> None:
    """The diagram has a test of its own below."""
    for block in BLOCKS:
        if block.language not in (*SHELL, "mermaid"):
            assert block.needs or block.tested_by, f"{block.page}: mark this block with needs or run:\n{block.source}"
        if block.language == "python":
            ast.parse(block.source)


def test_commands_stand_in_fenced_blocks() -> None:
    """Indented code would escape the tests above."""
    for page in PAGES:
        outside = re.sub(r"```.*?```", "", (PROJECT / page).read_text(), flags=re.DOTALL)
        found = re.findall(r"^ {4}(?:python -m|make|bentoml|curl|docker|uv|pip) .*", outside, re.MULTILINE)
        assert not found, (page, found)


def test_each_fence_is_a_block_with_a_language() -> None:
    """A fence without one, or further in, would escape them as well."""
    for page in PAGES:
        fences = re.findall(r"^[ >]*(?:```|~~~)", (PROJECT / page).read_text(), re.MULTILINE)
        assert len(fences) == 2 * sum(block.page == page for block in BLOCKS), page


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    """Zensical checks pages and their anchors, but neither pictures nor what lies outside docs/."""
    text = re.sub(r"```.*?```", "", (PROJECT / page).read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target and not target.startswith("mailto:"):
            path = (PROJECT / page).parent / target
            assert path.is_file(), f"{page} links to {target}"
            if page.startswith("docs/"):
                assert path.resolve().is_relative_to(DOCS), f"{page} links to {target}, which the site does not have"


def test_the_site_builds_strictly(tmp_path: Path) -> None:
    """A broken link, a missing anchor or a page that is not there ends the build."""
    config = (PROJECT / "mkdocs.yml").read_text()
    shutil.copytree(DOCS, tmp_path / "docs")
    (tmp_path / "mkdocs.yml").write_text(config.replace("paths: [src]", f"paths: [{PROJECT / 'src'}]"))
    build = ["zensical", "build", "--clean", "--strict", "--config-file", str(tmp_path / "mkdocs.yml")]
    done = subprocess.run(build, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in DOCS.glob("*.md"):
        assert page.name in config, f"{page.name} is not in the navigation of mkdocs.yml"
        built = tmp_path / "site" / ("" if page.stem == "index" else page.stem) / "index.html"
        assert built.is_file(), page.name
    reference = (tmp_path / "site" / "reference" / "index.html").read_text()
    assert 'id="polarity.watch.estimates.Estimate"' in reference
    assert ":::" not in reference
    assert json.loads((tmp_path / "site" / "search.json").read_text())


def test_a_broken_link_ends_the_build(tmp_path: Path) -> None:
    """The strict build is worth something: it fails."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Home\n\n[nowhere](index.md#nowhere)\n")
    (tmp_path / "mkdocs.yml").write_text("site_name: x\n")
    build = ["zensical", "build", "--strict", "--config-file", str(tmp_path / "mkdocs.yml")]
    done = subprocess.run(build, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "anchor does not exist" in done.stdout + done.stderr


def test_the_readme_is_a_screen_and_a_half() -> None:
    assert len((PROJECT / "README.md").read_text().splitlines()) <= 60


def test_the_graph_in_the_documentation_is_the_graph() -> None:
    (shown,) = re.findall(r"```mermaid\n(.*?)```", EXTEND, re.DOTALL)
    assert shown == mermaid(), "paste the output of `python -m flows.train --graph` into docs/extend.md"


def test_each_step_stands_after_what_it_needs() -> None:
    for place, node in enumerate(GRAPH):
        assert set(node.needs) <= set(GRAPH[:place])
    assert len({node.name for node in GRAPH}) == len(GRAPH)


def test_the_files_that_the_documentation_names_are_there() -> None:
    library = PROJECT / "src" / "polarity"
    tests = PROJECT / "tests"
    for name in set(re.findall(r"`((?:[a-z_]+/)+[a-z_]*(?:\.py|\.md|\.yaml)?)`", EXTEND)):
        assert any((root / name).exists() for root in (PROJECT, library, tests)), name


def test_the_step_of_the_documentation_is_one() -> None:
    (source,) = re.findall(r"```python\n(class CountDays.*?)```", EXTEND, re.DOTALL)
    names: dict[str, object] = {}
    exec(  # it is our own documentation
        "import json\nfrom collections.abc import Mapping\nfrom pathlib import Path\nimport pandas as pd\n"
        "from polarity.pipeline.graph import Prepare\nfrom polarity.pipeline.step import Step\n" + source,
        names,
    )
    step = names["CountDays"]
    assert isinstance(step, type) and issubclass(step, Step)
    assert not getattr(step, "__abstractmethods__", None)
