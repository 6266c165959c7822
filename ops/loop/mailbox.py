"""A mail server on the loopback interface that keeps what it accepts."""

from __future__ import annotations

import email
import email.policy
from types import TracebackType
from typing import Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from polarity.bento.server import free_port


class Mailbox:
    """Where the alerts arrive; `subjects` grows while it is open."""

    def __init__(self) -> None:
        self.subjects: list[str] = []
        self._port = free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self._port)

    @property
    def url(self) -> str:
        """The address of a channel of `alerts.yaml`."""
        return f"mailto://127.0.0.1:{self._port}?from=polarity@example.org&to=team@example.org&format=text"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's
        """Accept a mail."""
        content = envelope.content or b""
        given = content if isinstance(content, bytes) else content.encode()
        self.subjects.append(str(email.message_from_bytes(given, policy=email.policy.default)["Subject"]))
        return "250 accepted"

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._controller.stop()
