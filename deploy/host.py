"""A host with Docker or podman: two slots behind a front, one of them live."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploy.errors import Busy, DeployError
from deploy.front import SLOTS, Front
from deploy.release import release
from deploy.smoke import smoke_test

FRONT_IMAGE = "docker.io/library/haproxy:3.2"
_KILL_AFTER_S = 10
_LOG_LINES = "20"


@dataclass(frozen=True)
class Settings:
    """How versions are run on a host.

    Attributes
    ----------
    folder : Path
        State, lock and the front's files; one folder for each service on the host.
    name : str
        Begins the containers' names.
    listen : str
        Where clients connect: `*:8080`.
    base_port : int
        The slots listen on the two ports after it, on the loopback interface alone.
    environment : Path, optional
        File with a `NAME=value` a line for the containers; also the smoke test's API key.
    volume : str
        Volume with the record, which the versions share: a label goes to wherever its prediction is.
    expect : str, optional
        Tag of the Bento that the image must serve.
    check : sequence of str
        Command that must succeed on the staged version, too, with its address in `BASE_URL`.
    grace_s : float
        Maximum time for which the requests of the version before may go on.
    """

    folder: Path
    name: str = "polarity"
    listen: str = "*:8080"
    base_port: int = 18080
    environment: Path | None = None
    volume: str = "polarity"
    memory: str = "2g"
    backend: str = ""
    front_image: str = FRONT_IMAGE
    expect: str | None = None
    check: tuple[str, ...] = ()
    ready_s: float = 120.0
    grace_s: float = 35.0


@dataclass
class State:
    """What is live on a host, and what was before."""

    slot: str | None = None
    image: str | None = None
    bento: str | None = None
    previous: str | None = None
    since: str = field(default="")


class Host:
    """The containers of one service on this machine; the target of a release."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine = settings.backend or next((one for one in ("docker", "podman") if shutil.which(one)), "docker")
        settings.folder.mkdir(parents=True, exist_ok=True)
        self._ports = {slot: settings.base_port + distance for slot, distance in SLOTS.items()}
        self._front = Front(settings.folder.absolute(), settings.listen, self._ports)
        self._state = self._read()
        self._staged = self._other(self._state.slot)
        self._model: dict[str, Any] = {}

    @property
    def state(self) -> State:
        """What is live."""
        return self._state

    def statuses(self) -> dict[str, str]:
        """Slot -> the result of the front's last check of it."""
        return self._front.statuses()

    def deploy(self, image: str) -> None:
        """Make an image live; the one that was live stays the one to roll back to.

        Raises
        ------
        Busy
            If another deployment is running here.
        DeployError
            If it fails; then what was live before is live.
        """
        with self._locked():
            self._deploy(self._pulled(image))

    def rollback(self) -> None:
        """Make the previous image live, with the same care.

        Raises
        ------
        Busy, DeployError
        """
        with self._locked():
            if self._state.previous is None:
                raise DeployError("There is no previous version to roll back to.")
            self._deploy(self._state.previous)

    def remove(self) -> None:
        """Stop and remove all containers; the volume and the state's folder stay."""
        with self._locked():
            for name in ("front", *SLOTS):
                self._remove(name)
            self._write(State(previous=self._state.image))

    def stage(self, image: str) -> None:
        settings = self._settings
        self._remove(self._staged)
        options = ["--env", f"PORT={self._ports[self._staged]}", "--env", "BENTOML_HOST=127.0.0.1"]
        # The front is the only client of the connections, and the one proxy whose headers are believed.
        options += ["--env", "POLARITY_MAX_CONNECTIONS_PER_CLIENT=4096", "--env", "FORWARDED_ALLOW_IPS=127.0.0.1"]
        options += ["--env", f"POLARITY_GRACE_S={settings.grace_s - 5:g}"]
        if settings.environment is not None:
            options += ["--env-file", str(settings.environment)]
        options += ["--volume", f"{settings.volume}:/data", "--memory", settings.memory]
        self._run(self._staged, image, *options, "--stop-timeout", str(int(settings.grace_s) + _KILL_AFTER_S))

    def test_staged(self) -> None:
        url = f"http://127.0.0.1:{self._ports[self._staged]}"
        self._model = self._smoke_test(url, self._settings.ready_s)
        if self._settings.check:
            done = subprocess.run(self._settings.check, env={**os.environ, "BASE_URL": url}, check=False)
            if done.returncode:
                raise DeployError(f"{' '.join(self._settings.check)} failed with exit code {done.returncode}.")

    def switch(self) -> None:
        self._front.wait_until_ready(self._staged)
        # Written first: after a kill here the next command completes the switch.
        self._write(
            State(self._staged, self._image_of(self._staged), self._model["bento"], self._previous(), _now()),
        )
        self._settle()

    def test_live(self) -> None:
        address, _, port = self._settings.listen.rpartition(":")
        self._smoke_test(f"http://{address if address not in ('', '*', '0.0.0.0') else '127.0.0.1'}:{port}", 10)

    def switch_back(self) -> None:
        self._write(self._before)
        self._settle()

    def discard(self) -> None:
        self._remove(self._staged)

    def _deploy(self, image: str) -> None:
        self._state = self._before = self._read()
        self._staged = self._other(self._state.slot)
        self._settle()
        outcome = "failed"
        try:
            release(self, image)
            outcome = "live"
            if (before := self._before.slot) is not None:
                self._front.wait_for_end(before, self._settings.grace_s)
                self._remove(before)
        finally:
            with (self._settings.folder / "history.jsonl").open("a") as history:
                entry = {"at": _now(), "by": getpass.getuser(), "image": image, "outcome": outcome, **self._model}
                history.write(json.dumps(entry) + "\n")

    def _settle(self) -> None:
        """Bring about what the state says: a running front that sends clients to the live slot."""
        self._front.configure(self._state.slot)
        if not self._is_running("front"):
            self._remove("front")
            user = "0:0" if "podman" in self._engine else f"{os.getuid()}:{os.getgid()}"
            folder = f"{self._settings.folder.absolute()}:{Front.inside}:z"
            options = ["--user", user, "--cap-add", "NET_BIND_SERVICE", "--volume", folder, "--entrypoint", "haproxy"]
            self._run(
                "front", self._settings.front_image, *options, arguments=("-W", "-db", "-f", "/front/haproxy.cfg")
            )
        self._front.wait()
        if self._state.slot is not None:
            self._front.send_to(self._state.slot)

    def _smoke_test(self, url: str, timeout_s: float) -> dict[str, Any]:
        def ended() -> str | None:
            # One that ends is started again; it has ended all the same.
            first = self._inspect(self._staged, "{{.State.Running}} {{.RestartCount}}") == "true 0"
            return None if first else self._log(self._staged)

        return smoke_test(url, expect=self._settings.expect, key=self._key(), timeout_s=timeout_s, ended=ended)

    def _key(self) -> str | None:
        """The first of the API keys that the containers require."""
        if self._settings.environment is None:
            return None
        for line in self._settings.environment.read_text().splitlines():
            name, _, value = line.partition("=")
            if name.strip() == "POLARITY_API_KEY":
                return value.split(",")[0].strip()
        return None

    def _previous(self) -> str | None:
        """The image to roll back to once the staged one is live."""
        return self._before.image if self._before.image != self._image_of(self._staged) else self._before.previous

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the folder, which the kernel frees when this process ends, however that happens."""
        with (self._settings.folder / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise Busy(
                    f"Another deployment is running: {lock.read().strip()}. Try again when it is over."
                ) from None
            lock.truncate(0)
            lock.write(f"process {os.getpid()} of {getpass.getuser()}, since {_now()}")
            lock.flush()
            yield

    def _run(self, name: str, image: str, *options: str, arguments: tuple[str, ...] = ()) -> None:
        strict = [
            "--read-only",
            "--cap-drop",
            "all",
            "--security-opt",
            "no-new-privileges",
            "--restart",
            "unless-stopped",
        ]
        # The host's network, because the front has to reach both slots, and only the front shall.
        common = ["--detach", "--name", self._container(name), "--network", "host", *strict]
        self._command("run", *common, *options, image, *arguments)

    def _remove(self, name: str) -> None:
        if self._inspect(name, "{{.Id}}") is not None:
            self._command("stop", self._container(name))
            self._command("rm", "--force", self._container(name))

    def _is_running(self, name: str) -> bool:
        return self._inspect(name, "{{.State.Running}}") == "true"

    def _image_of(self, name: str) -> str:
        image = self._inspect(name, "{{.Image}}")
        if image is None:
            raise DeployError(f"The container {self._container(name)} has disappeared.")
        return image

    def _pulled(self, image: str) -> str:
        """The id of an image, which is pulled unless it is there: a tag may mean something else tomorrow."""
        found = self._try("image", "inspect", "--format", "{{.Id}}", image)
        if found.returncode:
            self._command("pull", image)
            found = self._try("image", "inspect", "--format", "{{.Id}}", image)
        return found.stdout.strip()

    def _log(self, name: str) -> str:
        found = self._try("logs", "--tail", _LOG_LINES, self._container(name))
        return (found.stdout + found.stderr).strip() or "It has no log."

    def _inspect(self, name: str, form: str) -> str | None:
        found = self._try("container", "inspect", "--format", form, self._container(name))
        return found.stdout.strip() if found.returncode == 0 else None

    def _command(self, *arguments: str) -> str:
        done = self._try(*arguments)
        if done.returncode:
            raise DeployError(f"{self._engine} {arguments[0]} failed: {done.stderr.strip()}")
        return done.stdout.strip()

    def _try(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([self._engine, *arguments], capture_output=True, text=True, check=False)

    def _container(self, name: str) -> str:
        return f"{self._settings.name}-{name}"

    def _other(self, slot: str | None) -> str:
        return next(one for one in SLOTS if one != slot)

    def _read(self) -> State:
        try:
            return State(**json.loads((self._settings.folder / "state.json").read_text()))
        except FileNotFoundError:
            return State()

    def _write(self, state: State) -> None:
        self._state = state
        draft = self._settings.folder / ".state.json"
        draft.write_text(json.dumps(vars(state)))
        draft.replace(self._settings.folder / "state.json")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
