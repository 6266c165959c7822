"""Runs a flow from a shell: parses options, prints the result as a table, and exits with a reliable code.

Exit codes: 0 success; 1 failure (see the log); 2 invalid option or data (see the message).
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, TextIO, TypeVar

import httpx
from prefect import Flow
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_SERVER_API_HOST,
    PREFECT_SERVER_API_PORT,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    temporary_settings,
)
from rich.console import Console
from rich.table import Table

from flows.adapter import EXPECTED
from polarity.config.command_line import parse_options
from polarity.config.sections import Section
from polarity.errors import ConfigurationError, PolarityError
from polarity.evaluation.summary import RunSummary
from polarity.pipeline.config import TrainConfig
from polarity.pipeline.graph import mermaid
from polarity.pipeline.plan import plan
from polarity.pipeline.remote_store import open_store

S = TypeVar("S", bound=Section)
LOCAL_SERVER = f"http://{PREFECT_SERVER_API_HOST.value()}:{PREFECT_SERVER_API_PORT.value()}/api"
SERVER_START_S = 180  # for the temporary server that Prefect starts if none is running; slow on a busy machine


def run_from_shell(
    flow: Flow[Any, Any],
    model: type[S],
    *,
    prog: str,
    show: Callable[[Console, Any], None],
    actions: Mapping[str, tuple[str, Callable[[Console, S], None]]] | None = None,
    run_actions: Mapping[str, tuple[str, Callable[[Console, str], bool]]] | None = None,
) -> None:
    """Run `flow` with the configuration from the command line, print its result, and exit.

    Parameters
    ----------
    flow : Flow
        Takes the configuration as its only argument.
    model : type
        The configuration model.
    prog : str
        Name of the command, for help and error messages.
    show : callable
        Prints the result to a console.
    actions : mapping, optional
        Switches (without dashes) that replace running the flow: help text, and a function of the configuration.
    run_actions : mapping, optional
        Options (without dashes) that take the id of a past run and use its configuration: help text, and a function of
        the id that returns whether it succeeded.
    """
    actions, run_actions = actions or {}, run_actions or {}
    console, errors = _console(sys.stdout), _console(sys.stderr)
    try:
        config, extras = parse_options(
            model,
            prog=prog,
            flags={flag: text for flag, (text, _) in actions.items()},
            named={name: text for name, (text, _) in run_actions.items()},
        )
        for name, run_id in extras.items():
            if run_id is None:
                actions[name][1](console, config)
                sys.exit(0)
            if config != model():
                raise ConfigurationError(f"--{name} uses the options of the past run; remove all other options.")
            sys.exit(0 if run_actions[name][1](console, run_id) else 1)
    except EXPECTED as error:
        errors.print(f"[bold red]{prog}[/]: {error}", soft_wrap=True, markup=True)
        sys.exit(2)
    except PolarityError as error:
        errors.print(f"[bold red]{prog}[/]: {error}", soft_wrap=True, markup=True)
        sys.exit(1)
    with ExitStack() as stack:
        stack.enter_context(temporary_settings({PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: SERVER_START_S}))
        if not PREFECT_API_URL.value() and is_responding(LOCAL_SERVER):
            stack.enter_context(temporary_settings({PREFECT_API_URL: LOCAL_SERVER}))
        try:
            state: Any = flow(config, return_state=True)
        except Exception as error:
            api = PREFECT_API_URL.value()
            if not api or (not isinstance(error, httpx.HTTPError) and is_responding(api)):
                raise
            errors.print(
                f"\n{prog}: the Prefect server at {api} does not respond as expected ({error}). Restart it, then "
                "run the same command again; finished steps are kept.",
                style="bold red", markup=False, soft_wrap=True,
            )  # fmt: skip
            sys.exit(1)
    gc.freeze()  # saves a second: the collector would otherwise scan every library once more at exit
    result = state.result(raise_on_failure=False)
    if state.is_completed():
        show(console, result)
        sys.exit(0)
    expected = isinstance(result, EXPECTED)
    errors.print(f"\n{prog}: {result if expected else state.message}", style="bold red", markup=False, soft_wrap=True)
    sys.exit(2 if expected else 1)


def show_summary(console: Console, summary: RunSummary) -> None:
    """Print the comparison, the verdict and the Bento of a training run."""
    print_table(console, f"Run {summary.run_id}", summary.table())
    trained = [model.name for model in summary.models if not model.cached]
    if not trained:
        console.print("Nothing was retrained: no input, option, code or library that a fit depends on has changed.")
    console.print(f"\n[bold]Verdict[/]  {summary.verdict.reason}")
    console.print(f"[bold]Champion[/] {'new' if summary.verdict.promoted else 'unchanged'}")
    console.print(f"[bold]Bento[/]    {summary.bento or 'none'}")


def _console(stream: TextIO) -> Console:
    """Create a console wide enough to keep tables intact when the output goes to a file or a pipe."""
    return Console(file=stream, highlight=False, width=None if stream.isatty() else 160)


def show_graph(console: Console, _: TrainConfig) -> None:
    """Print the graph of the steps as Mermaid text."""
    console.print(mermaid(), end="", markup=False, soft_wrap=True)


def show_plan(console: Console, config: TrainConfig) -> None:
    """Print what a training run would do, and why."""
    table = Table(header_style="bold", box=None)
    for name in ("step", "", "why"):
        table.add_column(name)
    colours = {"kept": "green", "runs": "yellow", "open": "cyan"}
    for planned in plan(config, open_store()):
        table.add_row(planned.step, f"[{colours[planned.state]}]{planned.state}[/]", planned.reason)
    console.print(table)


def is_responding(api: str) -> bool:
    """Return whether a Prefect server responds at `api`."""
    try:
        return httpx.get(f"{api}/health", timeout=2).is_success
    except httpx.HTTPError:
        return False


def print_table(console: Console, title: str, rows: list[dict[str, str]]) -> None:
    """Print a table, with all columns but the first right-aligned."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for index, name in enumerate(rows[0] if rows else []):
        table.add_column(name, justify="left" if index == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row.values())
    console.print(table)
