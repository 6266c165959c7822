"""A mail server that keeps what it accepts, and a record with something to tell."""

from __future__ import annotations

import email
import email.policy
import time
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from polarity.bento.server import free_port
from polarity.record import durations
from polarity.record.answer import Answer, Served, Traffic
from polarity.record.prediction_id import prediction_id
from polarity.record.spool import Spool


def mail_url(port: int) -> str:
    """The address of a channel that a mail server on this port receives."""
    return f"mailto://127.0.0.1:{port}?from=polarity@example.org&to=team@example.org"


class MailServer:
    """An SMTP server that keeps what it accepts, and calls hooks at two moments of a delivery."""

    def __init__(self, port: int | None = None) -> None:
        self.mails: list[EmailMessage] = []
        self.before_acceptance: Callable[[], object] = lambda: None
        self.after_acceptance: Callable[[], object] = lambda: None
        self._port = port or free_port()
        self.start()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.before_acceptance()
        content = envelope.content
        assert isinstance(content, bytes)
        mail = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.after_acceptance()
        return "250 accepted"

    @property
    def url(self) -> str:
        """The address of a channel."""
        return mail_url(self._port)

    @property
    def subjects(self) -> list[str]:
        return [str(mail["Subject"]) for mail in self.mails]

    def start(self) -> None:
        self._controller = Controller(self, hostname="127.0.0.1", port=self._port)
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop()


def write(path: Path, *, negative: int = 0, positive: int = 0, at: float | None = None, errors: int = 0) -> None:
    """Record answers, and a minute with as many requests."""
    at = time.time() if at is None else at
    spool = Spool(path, served=Served("logistic", "1", "sentiment:1"), texts="off", limit_bytes=2**24, evict=True)
    sentiments = ["negative"] * negative + ["positive"] * positive
    answers = [
        Answer(prediction_id(at), at, "so", sentiment, 0.9, {sentiment: 0.9}, None, 0, 0, 0.0, False)
        for sentiment in sentiments
    ]
    minute = Traffic(prediction_id(at), int(at // 60) - 1, len(answers) + errors, errors, 0, 0, durations.empty())
    spool.write(answers, [minute])
    spool.close()
