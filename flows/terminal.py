"""A flow from a shell: options in, progress and a table out, and exit codes that a script can trust.

Exit codes: 0 done; 1 something broke (the log says what); 2 an option or the data is wrong (the message says which).
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
SERVER_START_S = 180  # of the one that Prefect starts for a run if none answers: a busy machine takes its time


def run_from_shell(
    flow: Flow[Any, Any],
    model: type[S],
    *,
    prog: str,
    show: Callable[[Console, Any], None],
    instead: Mapping[str, tuple[str, Callable[[Console, S], None]]] | None = None,
    again: Mapping[str, tuple[str, Callable[[Console, str], bool]]] | None = None,
) -> None:
    """Run `flow` with the configuration on the command line, show its result, and exit.

    Parameters
    ----------
    flow : Flow
        Takes the configuration as its only argument.
    model : type
        Of the configuration.
    prog : str
        What the command is called.
    show : callable
        Tells the result on a console.
    instead : mapping, optional
        Switches (without dashes) that do something else with the configuration: their help text, and what they do.
    again : mapping, optional
        Options that name an earlier run, whose configuration counts: their help text, and what they do; false if that
        did not end well.
    """
    instead, again = instead or {}, again or {}
    console, complaints = _console(sys.stdout), _console(sys.stderr)
    try:
        config, beside = parse_options(
            model,
            prog=prog,
            flags={flag: text for flag, (text, _) in instead.items()},
            named={name: text for name, (text, _) in again.items()},
        )
        for name, run_id in beside.items():
            if run_id is None:
                instead[name][1](console, config)
                sys.exit(0)
            if config != model():
                raise ConfigurationError(f"--{name} takes the options of that run; leave out all others.")
            sys.exit(0 if again[name][1](console, run_id) else 1)
    except EXPECTED as error:
        complaints.print(f"[bold red]{prog}[/]: {error}", soft_wrap=True, markup=True)
        sys.exit(2)
    except PolarityError as error:
        complaints.print(f"[bold red]{prog}[/]: {error}", soft_wrap=True, markup=True)
        sys.exit(1)
    with ExitStack() as stack:
        stack.enter_context(temporary_settings({PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: SERVER_START_S}))
        if not PREFECT_API_URL.value() and answers(LOCAL_SERVER):
            stack.enter_context(temporary_settings({PREFECT_API_URL: LOCAL_SERVER}))
        try:
            state: Any = flow(config, return_state=True)
        except Exception as error:
            api = PREFECT_API_URL.value()
            if not api or (not isinstance(error, httpx.HTTPError) and answers(api)):
                raise
            complaints.print(
                f"\n{prog}: the Prefect server at {api} does not answer as it should ({error}). Start it again, then "
                "give the same command again: it goes on from what was finished.",
                style="bold red", markup=False, soft_wrap=True,
            )  # fmt: skip
            sys.exit(1)
    gc.freeze()  # a second less: the collector would go through every library once more before the process ends
    result = state.result(raise_on_failure=False)
    if state.is_completed():
        show(console, result)
        sys.exit(0)
    expected = isinstance(result, EXPECTED)
    complaints.print(
        f"\n{prog}: {result if expected else state.message}", style="bold red", markup=False, soft_wrap=True
    )
    sys.exit(2 if expected else 1)


def show_summary(console: Console, summary: RunSummary) -> None:
    """The comparison, the verdict and the Bento of a training run."""
    print_table(console, f"Run {summary.run_id}", summary.table())
    trained = [model.name for model in summary.models if not model.cached]
    if not trained:
        console.print("Nothing was trained again: no input, option, code or library that a fit depends on has changed.")
    console.print(f"\n[bold]Verdict[/]  {summary.verdict.reason}")
    console.print(f"[bold]Champion[/] {'new' if summary.verdict.promoted else 'unchanged'}")
    console.print(f"[bold]Bento[/]    {summary.bento or 'none'}")


def _console(stream: TextIO) -> Console:
    """A console that keeps tables whole when its output goes to a file or a pipe."""
    return Console(file=stream, highlight=False, width=None if stream.isatty() else 160)


def show_graph(console: Console, _: TrainConfig) -> None:
    """The graph of the steps, for Mermaid."""
    console.print(mermaid(), end="", markup=False, soft_wrap=True)


def show_plan(console: Console, config: TrainConfig) -> None:
    """What a training run would do, and why."""
    table = Table(header_style="bold", box=None)
    for name in ("step", "", "why"):
        table.add_column(name)
    colours = {"kept": "green", "runs": "yellow", "open": "cyan"}
    for planned in plan(config, open_store()):
        table.add_row(planned.step, f"[{colours[planned.state]}]{planned.state}[/]", planned.why)
    console.print(table)


def answers(api: str) -> bool:
    """Whether a Prefect server answers there."""
    try:
        return httpx.get(f"{api}/health", timeout=2).is_success
    except httpx.HTTPError:
        return False


def print_table(console: Console, title: str, rows: list[dict[str, str]]) -> None:
    """A table on the terminal, numbers to the right."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for at, name in enumerate(rows[0] if rows else []):
        table.add_column(name, justify="left" if at == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row.values())
    console.print(table)
