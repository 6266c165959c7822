"""`python -m polarity`: look after what the flows keep.

Exit codes: 0 well; 1 something is amiss; 2 an option is wrong.
"""

from __future__ import annotations

import argparse
import sys

from polarity import doctor, promotion
from polarity.errors import ConfigurationError, PolarityError
from polarity.registry import Registry
from polarity.settings import settings
from polarity.store import Store


def main() -> int:
    """Run the command on the command line."""
    parser = argparse.ArgumentParser(prog="python -m polarity", description="Look after what the flows keep.")
    commands = parser.add_subparsers(dest="command", required=True)
    examined = commands.add_parser("doctor", help="say what is amiss in the registry, the Bentos and the results")
    examined.add_argument("--mend", action="store_true", help="mend what can be mended")
    back = commands.add_parser("rollback", help="put a former champion back, alias and Bento")
    back.add_argument("--to", type=int, metavar="VERSION", help="which one; default: the one before today's")
    options = parser.parse_args()
    try:
        return _doctor(mend=options.mend) if options.command == "doctor" else _rollback(options.to)
    except PolarityError as error:
        print(f"python -m polarity {options.command}: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigurationError) else 1


def _doctor(*, mend: bool) -> int:
    found = doctor.examine(Registry.open(), Store(settings().store_folder))
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


if __name__ == "__main__":
    sys.exit(main())
