"""Send notices through Apprise: mail, Slack, Teams, ntfy, webhooks and others, by URL.

The one place that knows Apprise's inside: it gives every mail a Message-ID of its own, and adds a second one if another
is given; here a notice that is sent again has the same one. tests/unit/test_adapters.py fails when the pinned version
changes.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from unittest.mock import patch

from polarity.config.credentials import pieces, redacted
from polarity.errors import ConfigurationError, ServiceUnavailable
from polarity.record.alert_book import Address, Notice

APPRISE = "1.13.1"
MAIL_DOMAIN = "polarity"

_message_id_lock = Lock()


def address_of(channel: str, url: str) -> Address:
    """The address of a notice for `url`, which itself is not stored because it may hold a password."""
    return Address(channel, hashlib.sha256(url.encode()).hexdigest()[:16])


def check_url(url: str, *, variable: str) -> None:
    """Raise ConfigurationError if Apprise does not understand the URL; the message does not quote it."""
    import apprise

    with _reasons():
        understood = apprise.Apprise().add(url)
    if not understood:
        scheme = url.partition("://")[0] if "://" in url else "none"
        raise ConfigurationError(
            f"{variable} holds an address (scheme: {scheme[:20]}) that Apprise does not understand; see "
            "https://appriseit.com/services/ for how to write it."
        )


def send(notice: Notice, url: str) -> None:
    """Send a notice; returns when the receiver has accepted it.

    Raises
    ------
    ServiceUnavailable
        If it was not accepted; the message says why.
    """
    import apprise

    levels = {"info": apprise.NotifyType.INFO, "warning": apprise.NotifyType.WARNING}
    kind = levels.get(notice.severity, apprise.NotifyType.FAILURE)
    target = apprise.Apprise()
    with _reasons() as reasons, _message_id(f"<{notice.id}@{MAIL_DOMAIN}>"):
        target.add(url)
        accepted = target.notify(
            title=notice.text.subject,
            body=notice.text.body,
            notify_type=apprise.NotifyType.SUCCESS if notice.change == "resolved" else kind,
            body_format=apprise.NotifyFormat.TEXT,
        )
    if not accepted:
        raise ServiceUnavailable(without_secrets("; ".join(reasons), url) or "the address was refused")


def without_secrets(message: str, url: str) -> str:
    """A message of Apprise without what is secret in the URL, where many services have a token for a host or a path.

    Hidden is what Apprise itself would not show, the whole path, and everything in a URL that it does not understand.
    """
    import apprise

    with _reasons():
        plugin = apprise.Apprise.instantiate(url)
    authority, _, path = url.partition("://")[2].partition("/")
    shown = pieces(plugin.url(privacy=True)) if plugin is not None else set()  # type: ignore[no-untyped-call]
    return redacted(message, url, secrets=(pieces(f"://{authority}") - shown) | pieces(f"://{path}"))


@contextmanager
def _message_id(value: str) -> Iterator[None]:
    """Make Apprise use this Message-ID for its mails."""
    from apprise.plugins.email import base

    with _message_id_lock, patch.object(base, "make_msgid", lambda *_, **__: value):
        yield


@contextmanager
def _reasons() -> Iterator[list[str]]:
    """Collect what Apprise only logs, and may quote addresses with passwords in: why a message was not accepted."""
    reasons: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            reasons.append(record.getMessage().strip())

    logger = logging.getLogger("apprise")
    handler = Collector(logging.WARNING)
    logger.addHandler(handler)
    propagates, logger.propagate = logger.propagate, False
    try:
        yield reasons
    finally:
        logger.propagate = propagates
        logger.removeHandler(handler)
