"""`python -m polarity`: maintain what the flows store.

Exit codes: 0 success; 1 a problem remains or the command failed; 2 an invalid option.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from polarity.bento.store import promoted_tag
from polarity.config.settings import settings
from polarity.errors import ConfigurationError, PolarityError
from polarity.families.exports import formats_of
from polarity.families.registry import families
from polarity.pipeline.remote_store import open_store
from polarity.record.history import Span, answers
from polarity.record.options import RecordOptions
from polarity.record.retention import prune as prune_record
from polarity.record.store import opened_record
from polarity.registry import promotion, tasks
from polarity.registry.versions import Registry
from polarity.upkeep import doctor
from polarity.upkeep.export import export_model
from polarity.upkeep.retention import Removed, Retention, prune, reclaimable_bytes, removals
from polarity.upkeep.status import status
from polarity.watch.accuracy import Slice, accuracy_rows
from polarity.watch.confidence import calibration_of


def main() -> int:
    """Run the command given on the command line."""
    parser = argparse.ArgumentParser(prog="python -m polarity", description="Maintain what the flows store.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("status", help="show what is served, the last hour, what waits and which alerts fire")
    measured = commands.add_parser("accuracy", help="estimate the accuracy in production from the record")
    measured.add_argument("--days", type=float, default=30.0, metavar="N", help="how far back to look; default: 30")
    measured.add_argument("--daily", action="store_true", help="a row for each day")
    measured.add_argument("--by", choices=get_args(Slice), help="what to slice by")
    check = commands.add_parser("doctor", help="check that the registry, the Bentos and the results are consistent")
    check.add_argument("--mend", action="store_true", help="repair what can be repaired")
    back = commands.add_parser("rollback", help="restore a former champion, and keep the current one from coming back")
    back.add_argument("--to", type=int, metavar="VERSION", help="version to restore; default: the previous champion")
    back.add_argument(
        "--reason", default="", metavar="TEXT", help="why; kept with the version that is rolled back from"
    )
    forward = commands.add_parser("promote", help="make a version the champion, also after a rollback from it")
    forward.add_argument("version", type=int, metavar="VERSION", help="number of the version")
    for command in (back, forward):
        command.add_argument("--task", help="task of the version; default: the one that sentiment:latest serves")
    commands.add_parser("tasks", help="list the tasks with their champions, and which one is served")
    served = commands.add_parser("serve", help="make sentiment:latest the champion of another task")
    served.add_argument("task", metavar="TASK", help="name of the task")
    taken = commands.add_parser("export", help="write a model into a folder, to be used elsewhere")
    taken.add_argument("--model", default="champion", metavar="MODEL", help="champion, a version, or a folder")
    taken.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="folder to write; absent or empty")
    taken.add_argument(
        "--format",
        required=True,
        metavar="FORMAT",
        help=f"bento, onnx, or one of the model's family: {', '.join(_family_formats())}",
    )
    taken.add_argument("--task", help="task of the champion or version; default: the one that sentiment:latest serves")
    forgotten = commands.add_parser("forget", help="delete recorded predictions with their labels")
    which = forgotten.add_mutually_exclusive_group(required=True)
    which.add_argument("--prediction", nargs="+", metavar="ID", help="the predictions with these ids")
    which.add_argument("--mention", metavar="@NAME", help="predictions whose stored text mentions this user")
    which.add_argument("--before", metavar="DATE", help="everything from before this date or time (ISO 8601, UTC)")
    pruned = commands.add_parser(
        "prune", help="remove old runs, versions, Bentos, results and records, never the champion's"
    )
    pruned.add_argument("--dry-run", action="store_true", help="only list what would be removed")
    for name, field in Retention.model_fields.items():
        text = f"{field.description} (POLARITY_{name.upper()}; default {field.default})"
        pruned.add_argument(f"--{name.replace('_', '-')}", type=float, metavar="N", help=text)
    options = parser.parse_args()
    try:
        if options.command == "status":
            return _status()
        if options.command == "accuracy":
            return _accuracy(options)
        if options.command == "prune":
            return _prune(_retention(options), dry_run=options.dry_run)
        if options.command == "doctor":
            return _doctor(repair=options.mend)
        if options.command == "export":
            return _export(options)
        if options.command == "forget":
            return _forget(options)
        return _tasks() if options.command == "tasks" else _change_champion(options)
    except PolarityError as error:
        print(f"python -m polarity {options.command}: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigurationError) else 1


def _doctor(*, repair: bool) -> int:
    findings = doctor.examine(Registry.open(), open_store())
    remaining = 0
    for finding in findings:
        if finding.repair is not None and repair:
            finding.repair()
            print(f"repaired  {finding.problem}")
        else:
            remaining += 1
            print(f"{'problem' if finding.repair else 'needs manual repair'}  {finding.problem}")
    repaired = len(findings) - remaining
    print("Everything is consistent." if not findings else f"{repaired} repaired, {remaining} remaining.")
    return 1 if remaining else 0


def _status() -> int:
    for title, content in status():
        print(f"{title:<14} {content}")
    return 0


def _accuracy(options: argparse.Namespace) -> int:
    now = time.time()
    with opened_record(_record()) as store:
        found = answers(store, Span(now - options.days * 86_400, now))
        rows = accuracy_rows(found, daily=options.daily, by=options.by, calibration=calibration_of)
    for row in rows:
        print(" · ".join(filter(None, (f"version {row.version}", row.day, row.slice))))
        for estimate in row.estimates:
            print(f"  {estimate.in_words()}")
            if estimate.caveat:
                print(f"    {estimate.caveat}")
        if not row.estimates:
            print(f"  no estimate: of {row.answers:,} answers, {row.drawn:,} were drawn for review, none has a label")
        if row.volunteered.reports:
            reported = row.volunteered
            print(f"  volunteered: {reported.reports:,} reports, {reported.agreeing:,} agree. {reported.caveat}")
    if not rows:
        print(f"Nothing has been recorded in the last {options.days:g} days.")
    return 0


def _change_champion(options: argparse.Namespace) -> int:
    registry = Registry.open(task=options.task)
    if options.command == "serve":
        print(f"sentiment:latest is {promotion.serve(registry)}, the champion of the task {registry.task}.")
        return 0
    if options.command == "promote":
        done = promotion.promote_on_request(registry, options.version)
    else:
        done = promotion.rollback(registry, options.to, reason=options.reason)
    served = "sentiment:latest is" if done.served else "its Bento is"
    print(f"{done.champion} is the champion of the task {registry.task}; {served} {done.bento}.")
    print(f"It replaces {done.before}." if done.before else "There was none before.")
    return 0


def _export(options: argparse.Namespace) -> int:
    done = export_model(options.model, options.format, options.to, store=open_store(), task=options.task)
    print(f"{done.title} is in '{done.path}': {', '.join(done.files)}.")
    return 0


def _record() -> RecordOptions:
    """The options of a record that is there."""
    record = RecordOptions.read_enabled()
    if not record.database and not record.local_file.is_file():
        raise ConfigurationError(
            f"There is no record in '{record.local_file}'; set POLARITY_PREDICTION_LOG as for the server."
        )
    return record


def _forget(options: argparse.Namespace) -> int:
    record = _record()
    with opened_record(record) as store:
        if options.prediction:
            done = store.forget_predictions(options.prediction)
        elif options.mention:
            done = store.forget_mention(options.mention)
        else:
            done = store.forget_before(_moment(options.before))
    places = f"'{record.local_file}'" + (" and the database" if record.database else "")
    print(f"{done.predictions} predictions and {done.labels} labels have been deleted from {places}.")
    return 0


def _moment(given: str) -> float:
    try:
        moment = datetime.fromisoformat(given)
    except ValueError as error:
        raise ConfigurationError(f"Got --before {given!r}; write a date, such as 2026-11-30.") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _family_formats() -> list[str]:
    return sorted({format for family in families().values() for format in formats_of(family)})


def _tasks() -> int:
    uri = Registry.open().uri
    served = tasks.served_task(uri)
    for task in tasks.registered_tasks(uri):
        champion = Registry(uri, task.name).champion()
        bento = f", {promoted_tag(champion.bento)}" if champion and champion.bento else ""
        print(f"{'*' if task.name == served else ' '} {task.name}: {champion or 'no champion'}{bento}")
    print("* is served as sentiment:latest; `python -m polarity serve TASK` changes that.")
    return 0


def _retention(options: argparse.Namespace) -> Retention:
    given = {name: getattr(options, name) for name in Retention.model_fields}
    try:
        return Retention(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        problems = [f"{problem['loc'][0]}: got {problem['input']!r}; {problem['msg']}" for problem in error.errors()]
        raise ConfigurationError(". ".join(problems)) from error


def _prune(retention: Retention, *, dry_run: bool) -> int:
    registry, store, runs = Registry.open(), open_store(), settings().runs_folder
    if dry_run:
        planned = removals(registry, store, runs, retention)
        remote_bytes = sum(removal.remote_bytes for removal in planned)
        local_bytes = reclaimable_bytes([folder for removal in planned for folder in removal.folders])
        removed = Removed(tuple(planned), local_bytes + remote_bytes)
    else:
        removed = prune(registry, store, runs, retention)
    for removal in removed.removals:
        print(f"{'would remove' if dry_run else 'removed'}  {removal.target}, {removal.reason}")
    freed = f"{removed.freed_bytes / 1e6:,.1f} MB {'would be freed' if dry_run else 'freed'}"
    print(f"{len(removed.removals)} {'in total' if dry_run else 'removed'}; {freed}.")
    record = RecordOptions.read()
    if record.enabled and not dry_run and (record.database or record.local_file.exists()):
        forgotten = prune_record(record)
        print(
            f"{forgotten.predictions} predictions, {forgotten.labels} labels and {forgotten.minutes} minutes of "
            f"traffic from more than {record.log_keep_days:g} days ago have been deleted from the record."
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
