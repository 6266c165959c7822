"""A Kubernetes cluster with the manifests of `deploy/kubernetes`: the canary's deployment is the place to test.

kubectl does the work, in the namespace and with the identity of its configuration.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from deploy.errors import DeployError
from deploy.program import output_of
from deploy.release import release
from deploy.smoke import smoke_test

LIVE, STAGED = "sentiment", "sentiment-canary"
_READY_S = 600
_READY_AGAIN_S = 60.0


@dataclass(frozen=True)
class Cluster:
    """The deployments of the service; the target of a release.

    Attributes
    ----------
    namespace : str
    expect : str
        Tag of the Bento that the image must serve.
    key : str, optional
        An API key, if the service requires one.
    """

    namespace: str
    expect: str
    key: str | None = None

    def deploy(self, image: str) -> None:
        """Make an image live, or leave live what was.

        Raises
        ------
        DeployError
        """
        release(self, image)
        self.discard()

    def rollback(self) -> None:
        """Go back to the revision before.

        Raises
        ------
        DeployError
        """
        self.switch_back()
        self.test_live()

    def stage(self, image: str) -> None:
        self._kubectl("set", "image", f"deployment/{STAGED}", f"service={image}")
        self._kubectl("scale", f"deployment/{STAGED}", "--replicas=1")
        self._wait(STAGED)

    def test_staged(self) -> None:
        self._test(STAGED)

    def switch(self) -> None:
        # A new pod gets clients when it is ready, and an old one ends when it has answered its own.
        image = self._kubectl(
            "get", f"deployment/{STAGED}", "--output", "jsonpath={.spec.template.spec.containers[0].image}"
        )
        self._kubectl("set", "image", f"deployment/{LIVE}", f"service={image}")
        self._wait(LIVE)

    def test_live(self) -> None:
        self._test(LIVE)

    def switch_back(self) -> None:
        self._kubectl("rollout", "undo", f"deployment/{LIVE}")
        self._wait(LIVE)

    def discard(self) -> None:
        self._kubectl("scale", f"deployment/{STAGED}", "--replicas=0")

    def _wait(self, name: str) -> None:
        self._kubectl("rollout", "status", f"deployment/{name}", f"--timeout={_READY_S}s")

    def _test(self, name: str) -> None:
        with self._forwarded(name) as port:
            smoke_test(f"http://127.0.0.1:{port}", expect=self.expect, key=self.key, timeout_s=_READY_AGAIN_S)

    @contextmanager
    def _forwarded(self, name: str) -> Iterator[int]:
        """A port of this machine that leads to a pod of a service."""
        command = ["kubectl", "--namespace", self.namespace, "port-forward", f"service/{name}", ":80"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                line = process.stdout.readline()  # Forwarding from 127.0.0.1:40123 -> 3000
                if not line:
                    raise DeployError(f"kubectl cannot forward a port to {name}.")
                yield int(line.split(" -> ")[0].rpartition(":")[2])
            finally:
                process.terminate()

    def _kubectl(self, *arguments: str) -> str:
        return output_of("kubectl", *arguments, options=("--namespace", self.namespace))
