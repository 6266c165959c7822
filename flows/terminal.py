"""Runs a flow from a shell: parses options, prints the result as a table, and exits with a reliable code.

Exit codes: 0 success; 1 failure (see the log); 2 invalid option or data (see the message).

Whatever contains a path, a name or an error is printed as `Text`: in a plain string rich takes `[brackets]` for markup
and `:colons:` for emoji, and drops or replaces them.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO, TypeVar

import httpx
from prefect import Flow
from prefect.settings import (
    PREFECT_API_DATABASE_CONNECTION_URL,
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_SERVER_API_HOST,
    PREFECT_SERVER_API_PORT,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    temporary_settings,
)
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.adapter import EXPECTED
from flows.outages import is_responding
from polarity.config.command_line import parse_options
from polarity.config.sections import Section
from polarity.config.settings import require_url_safe, settings
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
        _check_folders()
    except EXPECTED as error:
        errors.print(Text.assemble((prog, "bold red"), f": {error}"), soft_wrap=True)
        sys.exit(2)
    except PolarityError as error:
        errors.print(Text.assemble((prog, "bold red"), f": {error}"), soft_wrap=True)
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
            message = (
                f"\n{prog}: the Prefect server at {api} does not respond as expected ({error}). Restart it, then "
                "run the same command again; finished steps are kept."
            )
            errors.print(Text(message, style="bold red"), soft_wrap=True)
            sys.exit(1)
    gc.freeze()  # saves a second: the collector would otherwise scan every library once more at exit
    result = state.result(raise_on_failure=False)
    if state.is_completed():
        show(console, result)
        sys.exit(0)
    expected = isinstance(result, EXPECTED)
    message = f"\n{prog}: {result if expected else state.message}"
    errors.print(Text(message, style="bold red"), soft_wrap=True)
    sys.exit(2 if expected else 1)


def show_summary(console: Console, summary: RunSummary | str) -> None:
    """Print the comparison, the verdict and the Bento of a training run, or why nothing was trained."""
    if isinstance(summary, str):
        console.print(Text(f"Nothing was trained. {summary}"), soft_wrap=True)
        return
    print_table(console, f"Run {summary.run_id}", summary.table())
    trained = [model.name for model in summary.models if not model.cached]
    if not trained:
        console.print("Nothing was retrained: no input, option, code or library that a fit depends on has changed.")
    console.print(Text.assemble(("\nVerdict", "bold"), f"  {summary.verdict.reason}"))
    console.print(Text.assemble(("Champion", "bold"), f" {'new' if summary.verdict.promoted else 'unchanged'}"))
    console.print(Text.assemble(("Bento", "bold"), f"    {summary.bento or 'none'}"))
    report = settings().runs_folder / summary.run_id / "report.html"
    console.print(Text.assemble(("Report", "bold"), f"   {report}"), soft_wrap=True)


def _console(stream: TextIO) -> Console:
    """Create a console wide enough to keep tables intact when the output goes to a file or a pipe."""
    return Console(file=stream, highlight=False, width=None if stream.isatty() else 160)


def show_graph(console: Console, _: TrainConfig) -> None:
    """Print the graph of the steps as Mermaid text."""
    console.print(Text(mermaid()), end="", soft_wrap=True)


def show_plan(console: Console, config: TrainConfig) -> None:
    """Print what a training run would do, and why."""
    table = Table(header_style="bold", box=None)
    for name in ("step", "", "why"):
        table.add_column(name)
    colours = {"kept": "green", "runs": "yellow", "open": "cyan"}
    for planned in plan(config, open_store()):
        table.add_row(Text(planned.step), Text(planned.state, style=colours[planned.state]), Text(planned.reason))
    console.print(table)


def _check_folders() -> None:
    """Refuse at once a folder with which MLflow or Prefect's temporary server would wait for minutes, and fail.

    Raises
    ------
    ConfigurationError
        If there is one.
    """
    for place in ("tracking_uri", "artifact_root"):
        getattr(settings(), place)
    if not PREFECT_API_URL.value() and not is_responding(LOCAL_SERVER):
        prefect_home()


def prefect_home() -> Path:
    """Return the folder in which a local Prefect server keeps its database.

    Raises
    ------
    ConfigurationError
        If the database is in that folder, and its URL cannot contain the folder's name.
    """
    home = Path(PREFECT_HOME.value())
    if str(home) in str(PREFECT_API_DATABASE_CONNECTION_URL.value()):
        require_url_safe(home, library="Prefect", content="database", setting="PREFECT_HOME")
    return home


def print_table(console: Console, title: str, rows: list[dict[str, str]]) -> None:
    """Print a table, with all columns but the first right-aligned."""
    table = Table(title=Text(title, style="table.title"), title_justify="left", header_style="bold")
    for index, name in enumerate(rows[0] if rows else []):
        table.add_column(Text(name), justify="left" if index == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row.values()))
    console.print(table)
