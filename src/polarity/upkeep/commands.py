"""The commands of `python -m polarity` that maintain what the flows store.

Exit codes: 0 success; 1 a problem remains or the command failed; 2 an invalid option.
"""

from __future__ import annotations

import argparse
import getpass
import sys
import time
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from polarity.bento import store as bento_store
from polarity.bento.store import promoted_tag
from polarity.config.settings import settings
from polarity.errors import ConfigurationError, PolarityError
from polarity.families.exports import formats_of
from polarity.families.registry import families
from polarity.inference.signature import KeyOptions, sign, verify
from polarity.pipeline.remote_store import open_store
from polarity.record.answer import Challenge
from polarity.record.canary import CanaryState
from polarity.record.challenge import ChallengeSet, read_challenge, set_challenge
from polarity.record.history import Span, answers
from polarity.record.options import RecordOptions, check_challenger
from polarity.record.retention import prune as prune_record
from polarity.record.store import opened_record
from polarity.registry import promotion, tasks
from polarity.registry.versions import Registry
from polarity.upkeep import doctor
from polarity.upkeep.backup import back_up, restore
from polarity.upkeep.export import export_model
from polarity.upkeep.retention import Removed, Retention, prune, reclaimable_bytes, removals
from polarity.upkeep.status import status
from polarity.watch.accuracy import Slice, accuracy_rows
from polarity.watch.challenger import challenge_lines
from polarity.watch.confidence import calibration_of
from polarity.watch.drift_windows import held_out_of
from polarity.watch.safety import safety_record


def main() -> int:
    """Run the command given on the command line."""
    parser = argparse.ArgumentParser(prog="python -m polarity", description="Maintain what the flows store.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("score", help="score a file or a folder of tweets", add_help=False)  # see polarity.__main__
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
    tried = commands.add_parser("challenge", help="mirror answered texts to another server, and compare the two")
    tried.add_argument("address", nargs="?", metavar="URL", help="address of the challenger; none: show how it stands")
    tried.add_argument("--share", type=float, default=1.0, metavar="S", help="of the answered texts; default: 1")
    tried.add_argument("--canary", action="store_true", help="also let it answer clients, more of them step by step")
    changed = tried.add_mutually_exclusive_group()
    changed.add_argument("--pause", action="store_true", help="let it answer nobody until --resume; mirroring goes on")
    changed.add_argument("--resume", action="store_true", help="let it answer clients again, or for the first time")
    changed.add_argument("--stop", action="store_true", help="mirror to nobody, and let it answer nobody")
    tried.add_argument("--reason", default="", metavar="TEXT", help="why; kept with the change")
    tried.add_argument("--days", type=float, default=30.0, metavar="N", help="how far back to look; default: 30")
    commands.add_parser("tasks", help="list the tasks with their champions, and which one is served")
    served = commands.add_parser("serve", help="make sentiment:latest the champion of another task")
    served.add_argument("task", metavar="TASK", help="name of the task")
    safe = commands.add_parser("safety", help="show what has tried a version, and whether it held")
    safe.add_argument("version", nargs="?", type=int, metavar="VERSION", help="its number; default: the champion's")
    safe.add_argument("--task", help="task of the version; default: the one that sentiment:latest serves")
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
    kept = commands.add_parser(
        "backup", help="write registry, Bentos, results, runs, collected tweets and record into a file"
    )
    kept.add_argument("file", type=Path, metavar="FILE", help="a new file; compressed if its name ends with .gz")
    back_again = commands.add_parser("restore", help="unpack a backup into a fresh home; nothing is overwritten")
    back_again.add_argument("file", type=Path, metavar="FILE", help="what `backup` wrote")
    signed = commands.add_parser("sign", help="sign a Bento as it is, with POLARITY_SIGNING_KEY")
    verified = commands.add_parser("verify", help="hold a Bento against its signature, by POLARITY_VERIFY_KEY")
    for command in (signed, verified):
        command.add_argument(
            "bento", nargs="?", default="sentiment:latest", metavar="BENTO", help="tag or folder; default: %(default)s"
        )
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
        if options.command == "safety":
            return _safety(options)
        if options.command == "challenge":
            return _challenge(options)
        if options.command == "forget":
            return _forget(options)
        if options.command in ("backup", "restore"):
            return _back_up_or_restore(options)
        if options.command in ("sign", "verify"):
            return _sign(options.bento) if options.command == "sign" else _verify(options.bento)
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
        rows = accuracy_rows(
            found, daily=options.daily, by=options.by, calibration=calibration_of, held_out=held_out_of
        )
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


def _challenge(options: argparse.Namespace) -> int:
    changes = options.stop or options.pause or options.resume
    if options.address and changes:
        raise ConfigurationError("Give either the address of a challenger or one of --pause, --resume and --stop.")
    if options.canary and not options.address:
        raise ConfigurationError("--canary needs the address of a challenger; --resume begins with the present one.")
    if not 0 <= options.share <= 1:
        raise ConfigurationError(f"Got --share {options.share:g}; it must be between 0 and 1.")
    if options.address:
        check_challenger(options.address)
    now = time.time()
    with opened_record(_record()) as store:
        if options.address or changes:
            wanted, canary = Challenge("", 0.0), CanaryState()
            if options.address:
                wanted = Challenge(options.address, options.share)
                canary = CanaryState("running", since=now, began=now) if options.canary else canary
            elif not options.stop:
                found = read_challenge(store)
                if found is None or not found.challenge.address:
                    raise ConfigurationError("There is no challenger; give its address.")
                wanted = found.challenge
                canary = found.canary.paused() if options.pause else found.canary.resumed(now)
            set_challenge(store, ChallengeSet(wanted, now, getpass.getuser(), options.reason, canary))
        for line in challenge_lines(store, Span(now - options.days * 86_400, now)):
            print(line)
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


def _safety(options: argparse.Namespace) -> int:
    registry = Registry.open(task=options.task)
    version = registry.champion() if options.version is None else registry.version(options.version)
    if version is None:
        raise ConfigurationError(f"The task {registry.task} has no champion; give a version.")
    record = RecordOptions.read()
    there = record.enabled and (record.database or record.local_file.is_file())
    with opened_record(record) if there else nullcontext() as store:
        checks = safety_record(registry, version, store)
    print(f"{version} of the task {registry.task}")
    for check in checks:
        print(f"  {check.name:<10} {check.in_words:<10} {check.found}")
    return 1 if any(check.passed is False for check in checks) else 0


def _export(options: argparse.Namespace) -> int:
    done = export_model(options.model, options.format, options.to, store=open_store(), task=options.task)
    print(f"{done.title} is in '{done.path}': {', '.join(done.files)}.")
    return 0


def _back_up_or_restore(options: argparse.Namespace) -> int:
    done = back_up(options.file) if options.command == "backup" else restore(options.file)
    where = f"'{options.file}' has" if options.command == "backup" else f"'{settings().home}' has again"
    print(f"{where} {', '.join(done.parts)}: {done.files:,} files, {done.bytes / 1e6:,.1f} MB.")
    for one in done.left_out:
        print(f"not in the backup  {one}")
    if options.command == "restore":
        print("Now check it: python -m polarity doctor")
    return 0


def _sign(bento: str) -> int:
    key = KeyOptions.read().signing_key
    if not key:
        raise ConfigurationError("Set POLARITY_SIGNING_KEY to the private key to sign with (a PEM file).")
    folder = bento_store.locate(bento)
    sign(folder, key, name=bento)
    print(f"'{folder}' is signed.")
    return 0


def _verify(bento: str) -> int:
    key = KeyOptions.read().verify_key
    if not key:
        raise ConfigurationError("Set POLARITY_VERIFY_KEY to the public key of who has signed (a PEM file).")
    folder = bento_store.locate(bento)
    verify(folder, key)
    print(f"'{folder}' is what was signed.")
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
