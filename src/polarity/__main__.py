"""`polarity` and `python -m polarity`: score tweets, and maintain what the flows store.

Only `score` works with the light package; the other commands are in `polarity.upkeep.commands`.

Exit codes: 0 success; 1 a problem remains or the command failed; 2 an invalid option or unusable data.
"""

from __future__ import annotations

import sys

from polarity.config.extras import extra_of


def main() -> int:
    """Run the command given on the command line."""
    try:
        if sys.argv[1:2] == ["score"]:
            from polarity.scoring.command import main as score

            return score(sys.argv[2:])
        from polarity.upkeep.commands import main as maintain
    except ModuleNotFoundError as error:
        if (extra := extra_of(error)) is None:
            raise
        command = " ".join(["polarity", *sys.argv[1:2]])
        print(
            f"{command}: {error.name} is not installed; pip install 'polarity[{extra}]' adds it. The package without "
            "extras has one command: polarity score --help.",
            file=sys.stderr,
        )
        return 2
    return maintain()


if __name__ == "__main__":
    sys.exit(main())
