"""A release: the order in which a version is staged, tested, made live, and taken back; the same for every target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Target(Protocol):
    """Where a version can be deployed."""

    def stage(self, image: str) -> None:
        """Start the image where no client is sent."""

    def test_staged(self) -> None:
        """Raise `SmokeTestFailed` unless the staged version answers as it has to."""

    def switch(self) -> None:
        """Send all clients to the staged version; it has to lose no request."""

    def test_live(self) -> None:
        """Raise `SmokeTestFailed` unless clients get right answers."""

    def switch_back(self) -> None:
        """Send all clients to the version that was live before."""

    def discard(self) -> None:
        """Stop the version that is not live."""


def release(target: Target, image: str, *, say: Callable[[str], None] = print) -> None:
    """Make an image live, or leave live what was.

    Raises
    ------
    DeployError
        If the image does not start, or fails a smoke test. Clients are then with the version before.
    """
    say("Starting the new version beside the live one.")
    try:
        target.stage(image)
        target.test_staged()
    except BaseException:
        say("The new version is not sent any client.")
        target.discard()
        raise
    say("It passed the smoke test; it gets the clients.")
    try:
        target.switch()
        target.test_live()
    except BaseException as error:
        say(f"Rolling back: {error}")
        target.switch_back()
        target.discard()
        raise
    say("It is live.")
