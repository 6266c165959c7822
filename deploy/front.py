"""The front: HAProxy, which sends clients to the live one of two slots, and changes its mind without a reload.

A reload (of nginx, Caddy or HAProxy) ends in closed idle connections, and a request that a client sends on one at that
moment is lost. HAProxy's admin socket changes a server's state in the running process instead: connections of clients
stay, and only where their next request goes changes.
"""

from __future__ import annotations

import csv
import os
import socket
import time
from pathlib import Path

from deploy.errors import DeployError

SLOTS = {"blue": 1, "green": 2}
"""The two places for a version -> how far their ports are from the front's internal base port."""

_CONFIGURATION = """\
# Written by `python -m deploy`; it is read when the front starts, and changed in place after that.
global
  stats socket {folder}/admin.sock mode 600 level admin
  maxconn 4000
  no strict-limits
  hard-stop-after 45s

defaults
  mode http
  timeout connect 2s
  timeout http-request 10s
  timeout http-keep-alive 75s
  timeout client 60s
  timeout server 60s
  retries 3
  option redispatch

frontend clients
  bind {listen}
  http-request del-header X-Forwarded- -m beg
  option forwardfor
  default_backend service

backend service
  option httpchk GET /readyz
  default-server check inter {check_ms} fall 2 rise 1
{servers}
"""
_CHECK_S = 0.5
_TIMEOUT_S = 10.0
_PAUSE_S = 0.05


class Front:
    """The configuration and the admin socket of a running front.

    Parameters
    ----------
    folder : Path
        Where both are; mounted into the front's container as `inside`.
    listen : str
        Where clients connect: `*:8080`, `127.0.0.1:8080`.
    ports : dict
        Slot -> port of its version on the loopback interface.
    """

    inside = "/front"

    def __init__(self, folder: Path, listen: str, ports: dict[str, int]) -> None:
        self._folder = folder
        self._listen = listen
        self._ports = ports

    def configure(self, live: str | None) -> None:
        """Write the configuration that the front reads when it starts."""
        servers = "\n".join(
            f"  server {slot} 127.0.0.1:{port} weight {int(slot == live)}" for slot, port in self._ports.items()
        )
        check_ms = int(1000 * _CHECK_S)
        text = _CONFIGURATION.format(folder=self.inside, listen=self._listen, servers=servers, check_ms=check_ms)
        draft = self._folder / ".haproxy.cfg"
        draft.write_text(text)
        draft.replace(self._folder / "haproxy.cfg")

    def wait(self) -> None:
        """Wait until the front can be asked.

        Raises
        ------
        DeployError
        """
        until = time.monotonic() + _TIMEOUT_S
        while True:
            try:
                self.statuses()
                return
            except OSError as error:
                if time.monotonic() > until:
                    raise DeployError(f"The front does not respond: {error}.") from error
            time.sleep(_PAUSE_S)

    def wait_until_ready(self, slot: str) -> None:
        """Wait until the front itself has found a slot's version ready.

        Raises
        ------
        DeployError
            If it does not.
        """
        # For the result of a check that begins now: an earlier one knows nothing of a version that has just ended.
        time.sleep(2 * _CHECK_S)
        until = time.monotonic() + _TIMEOUT_S
        while (found := self.statuses()[slot]) != "L7OK":
            if time.monotonic() > until:
                raise DeployError(f"The front does not find {slot} ready: its check gave {found}.")
            time.sleep(_PAUSE_S)

    def send_to(self, live: str) -> None:
        """Send new requests to a slot, and none to the other; requests that have begun stay where they are."""
        self._command(f"set weight service/{live} 1")
        for slot in self._ports:
            if slot != live:
                self._command(f"set weight service/{slot} 0")

    def wait_for_end(self, slot: str, timeout_s: float) -> None:
        """Wait until no request of a slot is open, for at most `timeout_s`."""
        until = time.monotonic() + timeout_s
        while self._statistics(slot)["scur"] != "0" and time.monotonic() < until:
            time.sleep(_PAUSE_S)

    def statuses(self) -> dict[str, str]:
        """Slot -> the result of the last check of its version: L7OK if it is ready, L4CON if nobody listens."""
        # While a check is running, the result of the one before has a star.
        return {slot: self._statistics(slot)["check_status"].removeprefix("* ") for slot in self._ports}

    def _statistics(self, slot: str) -> dict[str, str]:
        rows = csv.DictReader(self._command("show stat").removeprefix("# ").splitlines())
        for row in rows:
            if (row["pxname"], row["svname"]) == ("service", slot):
                return row
        raise DeployError(f"The front does not know the slot {slot}.")

    def _command(self, command: str) -> str:
        # Connected through the folder's descriptor: a socket's address has at most 107 bytes, a path more.
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            with socket.socket(socket.AF_UNIX) as admin:
                admin.settimeout(_TIMEOUT_S)
                admin.connect(f"/proc/self/fd/{folder}/admin.sock")
                admin.sendall(command.encode() + b"\n")
                with admin.makefile("rb") as answer:
                    reply = answer.read().decode()
        finally:
            os.close(folder)
        if command.startswith("set ") and reply.strip():
            raise DeployError(f"The front refuses {command!r}: {reply.strip()}")
        return reply
