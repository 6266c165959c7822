"""The programs that do the work on a platform: az, kubectl."""

from __future__ import annotations

import subprocess

from deploy.errors import DeployError


def output_of(*command: str, options: tuple[str, ...] = ()) -> str:
    """Run a program to its end, and return its output without the blanks around it.

    Parameters
    ----------
    *command : str
        The program and its arguments.
    options : tuple of str
        Arguments that every command of the program has; left out of the message of a failure.

    Raises
    ------
    DeployError
        If the program ends with another exit code than 0; the message has what it wrote to its error output.
    """
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DeployError(f"{' '.join(command)} failed: {done.stderr.strip()}")
    return done.stdout.strip()
