"""`python -m polarity status`: the system on one screen."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from polarity.bento import store as bento_store
from polarity.config.settings import settings
from polarity.errors import PolarityError, ServiceUnavailable
from polarity.evaluation.summary import RunSummary
from polarity.record.alert_book import alert_name
from polarity.record.challenge import read_challenge
from polarity.record.history import Span
from polarity.record.options import RecordOptions
from polarity.record.status import RecordStatus, record_status
from polarity.record.store import opened_record
from polarity.watch.challenger import challenge_lines
from polarity.watch.measure import in_time

# A server process records every minute, when it is over.
_SILENT_AFTER_S = 180.0
# How far back answers of challengers are compared.
_CHALLENGE_S = 30 * 86_400.0


def status() -> Iterator[tuple[str, str]]:
    """The most important facts for an operator, as lines with a title."""
    now = time.time()
    options = RecordOptions.read()
    champion = bento_store.latest()
    yield "champion", champion or "none; train a model"
    if not options.enabled:
        yield "record", "off (POLARITY_PREDICTION_LOG)"
    elif options.database is None and not options.local_file.is_file():
        yield "record", f"nothing has been recorded in '{options.local_file}'"
    else:
        try:
            yield from _of_record(options, champion, now)
        except ServiceUnavailable as error:
            yield "record", str(error)
            with opened_record(options.without_database) as store:
                found = record_status(store, now)
            # Without its database, all rows of the local file wait.
            yield from _alerts(found, now)
    yield "last training", _last_training(settings().runs_folder, now)


def _of_record(options: RecordOptions, champion: str | None, now: float) -> Iterator[tuple[str, str]]:
    with opened_record(options) as store:
        found = record_status(store, now)
        challenged = challenge_lines(store, Span(now - _CHALLENGE_S, now)) if read_challenge(store) else []
    yield "served", _served(found, champion, now)
    if found.requests:
        latency = f", p95 {in_time(found.p95_latency)}" if found.p95_latency is not None else ""
        yield (
            "last hour",
            f"{found.requests:,} requests, {found.errors:,} errors, {found.refused:,} refused{latency}",
        )
    else:
        yield "last hour", "no requests"
    yield "answers", ", ".join(f"{count:,} {name}" for name, count in found.answers.items()) or "none in the last hour"
    place = "its database" if options.database else f"'{options.local_file}'"
    waiting = f", {found.waiting:,} rows wait (the oldest {in_time(found.oldest_waiting_s)})" if found.waiting else ""
    yield "record", f"{place}{waiting}"
    yield "last label", f"{_ago(found.last_label_at, now)}; {found.to_review:,} answers wait for review"
    for line in challenged:
        yield "challenger", line
    yield from _alerts(found, now)


def _served(found: RecordStatus, champion: str | None, now: float) -> str:
    if found.served is None or found.last_minute_at is None:
        return "no server has recorded a minute yet"
    since = f"{found.served}, since {_moment(found.served_since)}" if found.served_since is not None else found.served
    silent_s = now - found.last_minute_at - 60
    if silent_s > _SILENT_AFTER_S:
        return f"{since}; silent for {in_time(silent_s)}"
    return since if champion in (None, found.served) else f"{since}; not the champion"


def _alerts(found: RecordStatus, now: float) -> Iterator[tuple[str, str]]:
    for alert in found.alerts:
        lasts = f"{alert.severity}, for {in_time(now - alert.since)}"
        yield "alert", f"{alert_name(alert.rule, alert.source)}, {lasts}: {alert.summary}"
    if not found.alerts:
        yield "alerts", "none"
    if found.unsent:
        yield "notices", f"{found.unsent:,} have not been accepted by their receivers"


def _last_training(runs: Path, now: float) -> str:
    for folder in sorted(runs.glob("*/summary.json"), key=lambda file: -file.stat().st_mtime):
        try:
            run = RunSummary.read(folder.parent)
        except (PolarityError, ValueError, OSError):
            continue  # of a scoring, or written by another version
        outcome = f"{run.verdict.selected or 'nothing'} was {'promoted' if run.verdict.promoted else 'not promoted'}"
        return f"{run.run_id}, {_ago(datetime.fromisoformat(run.started).timestamp(), now)}: {outcome}"
    return "none"


def _ago(at: float | None, now: float) -> str:
    return "never" if at is None else f"{_moment(at)} ({in_time(max(0.0, now - at))} ago)"


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
