"""An Azure Web App for Containers: a staging slot that is swapped with production.

Azure's command does the work. It has to be logged in (`az login`, or the identity of a workflow).
"""

from __future__ import annotations

from dataclasses import dataclass

from deploy.program import output_of
from deploy.release import release
from deploy.smoke import smoke_test

READY_S = 600.0


@dataclass(frozen=True)
class WebApp:
    """A web app; the target of a release.

    Attributes
    ----------
    name, group : str
        The app, and its resource group.
    slot : str
        The staging slot. After a release it holds the version before.
    expect : str
        Tag of the Bento that the image must serve.
    key : str, optional
        An API key, if the app requires one.
    """

    name: str
    group: str
    slot: str
    expect: str
    key: str | None = None

    def deploy(self, image: str) -> None:
        """Make an image live, or leave live what was.

        Raises
        ------
        DeployError
        """
        release(self, image)

    def rollback(self) -> None:
        """Swap with the staging slot, which holds the version before, if that answers as `expect` says.

        Raises
        ------
        DeployError
        """
        self.test_staged()
        self.switch()
        self.test_live()

    def stage(self, image: str) -> None:
        self._az("config", "container", "set", "--slot", self.slot, "--container-image-name", image)
        self._az("restart", "--slot", self.slot)

    def test_staged(self) -> None:
        self._test(self._az("show", "--slot", self.slot, "--query", "defaultHostName", "--output", "tsv"))

    def switch(self) -> None:
        # Azure warms the slot up before it sends it anybody, and what has begun ends where it began.
        self._az("deployment", "slot", "swap", "--slot", self.slot, "--target-slot", "production")

    def test_live(self) -> None:
        self._test(self._az("show", "--query", "defaultHostName", "--output", "tsv"))

    def switch_back(self) -> None:
        self.switch()

    def discard(self) -> None:
        """Leave the slot as it is: it gets no client, and its log says what went wrong."""

    def _test(self, host: str) -> None:
        # The container before answers until the new one is there.
        smoke_test(f"https://{host}", expect=self.expect, key=self.key, timeout_s=READY_S, patient=True, direct=False)

    def _az(self, *arguments: str) -> str:
        app = ("--name", self.name, "--resource-group", self.group)
        return output_of("az", "webapp", *arguments, options=app)
