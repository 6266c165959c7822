"""`python -m flows.train --reproduce RUN_ID`: repeat a past run and compare the two."""

from __future__ import annotations

import os

from prefect.settings import PREFECT_API_URL
from rich.console import Console
from rich.text import Text

from flows.outages import is_responding
from flows.terminal import LOCAL_SERVER, print_table
from polarity.config.settings import settings
from polarity.pipeline.remote_store import open_store
from polarity.upkeep.reproduce import caveats, find_run, find_snapshot, reproduce


def show_reproduction(console: Console, run_id: str, *, promote: bool = False) -> bool:
    """Repeat a past run and print both side by side; return whether they agree."""
    past = find_run(run_id, settings().runs_folder)
    for caveat in caveats(past):
        console.print(Text(caveat, style="yellow"), soft_wrap=True)
    snapshot = find_snapshot(open_store(), past.summary.data.digest)
    if not PREFECT_API_URL.value() and is_responding(LOCAL_SERVER):
        os.environ["PREFECT_API_URL"] = LOCAL_SERVER
    origin = f"Commit {past.summary.git_commit[:12]} on {snapshot.manifest.rows:,} tweets of {run_id}"
    console.print(Text(origin, style="bold"))
    reproduction = reproduce(past, snapshot, promote=promote)
    print_table(console, f"{run_id}: original and reproduction", reproduction.table())
    console.print(Text(f"The reproduction is in {reproduction.folder}"), soft_wrap=True)
    verdict = "agree" if reproduction.agrees else "[bold red]do not agree[/]"
    console.print(f"Both runs {verdict}: logistic regression to the last digit, networks within their intervals.")
    return reproduction.agrees


def show_restoration(console: Console, run_id: str) -> bool:
    """Like `show_reproduction`, but also register the model, and promote it if the policy allows it."""
    return show_reproduction(console, run_id, promote=True)
