"""`python -m polarity`: look after what the flows keep.

Exit codes: 0 well; 1 something is amiss; 2 an option is wrong.
"""

from __future__ import annotations

import argparse
import sys

from pydantic import ValidationError

from polarity.config.settings import settings
from polarity.errors import ConfigurationError, PolarityError
from polarity.pipeline.remote_store import open_store
from polarity.registry import promotion
from polarity.registry.versions import Registry
from polarity.upkeep import doctor
from polarity.upkeep.retention import Removed, Retention, own_bytes, prune, removals


def main() -> int:
    """Run the command on the command line."""
    parser = argparse.ArgumentParser(prog="python -m polarity", description="Look after what the flows keep.")
    commands = parser.add_subparsers(dest="command", required=True)
    examined = commands.add_parser("doctor", help="say what is amiss in the registry, the Bentos and the results")
    examined.add_argument("--mend", action="store_true", help="mend what can be mended")
    back = commands.add_parser("rollback", help="put a former champion back, alias and Bento")
    back.add_argument("--to", type=int, metavar="VERSION", help="which one; default: the one before today's")
    pruned = commands.add_parser("prune", help="remove old runs, versions, Bentos and results, never the champion's")
    pruned.add_argument("--dry-run", action="store_true", help="only say what would go")
    for name, field in Retention.model_fields.items():
        told = f"{field.description} (POLARITY_{name.upper()}; default {field.default})"
        pruned.add_argument(f"--{name.replace('_', '-')}", type=float, metavar="N", help=told)
    options = parser.parse_args()
    try:
        if options.command == "prune":
            return _prune(_retention(options), dry_run=options.dry_run)
        return _doctor(mend=options.mend) if options.command == "doctor" else _rollback(options.to)
    except PolarityError as error:
        print(f"python -m polarity {options.command}: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigurationError) else 1


def _doctor(*, mend: bool) -> int:
    found = doctor.examine(Registry.open(), open_store())
    left = 0
    for finding in found:
        if finding.mend is not None and mend:
            finding.mend()
            print(f"mended   {finding.what}")
        else:
            left += 1
            print(f"{'amiss ' if finding.mend else 'by hand'}  {finding.what}")
    print("All is well." if not found else f"{len(found) - left} mended, {left} left.")
    return 1 if left else 0


def _rollback(to: int | None) -> int:
    done = promotion.rollback(Registry.open(), to)
    print(f"{done.champion} is the champion again; sentiment:latest is {done.bento}. Before it was {done.before}.")
    return 0


def _retention(options: argparse.Namespace) -> Retention:
    given = {name: getattr(options, name) for name in Retention.model_fields}
    try:
        return Retention(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        told = [f"{problem['loc'][0]}: got {problem['input']!r}; {problem['msg']}" for problem in error.errors()]
        raise ConfigurationError(". ".join(told)) from error


def _prune(retention: Retention, *, dry_run: bool) -> int:
    registry, store, runs = Registry.open(), open_store(), settings().runs_folder
    if dry_run:
        planned = removals(registry, store, runs, retention)
        elsewhere_bytes = sum(removal.elsewhere_bytes for removal in planned)
        here_bytes = own_bytes([folder for removal in planned for folder in removal.folders])
        removed = Removed(tuple(planned), here_bytes + elsewhere_bytes)
    else:
        removed = prune(registry, store, runs, retention)
    for removal in removed.removals:
        print(f"{'would remove' if dry_run else 'removed'}  {removal.what}, {removal.why}")
    freed = f"{removed.freed_bytes / 1e6:,.1f} MB {'would come' if dry_run else 'came'} free"
    print(f"{len(removed.removals)} removed; {freed}." if not dry_run else f"{len(removed.removals)} in all; {freed}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
