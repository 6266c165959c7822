"""Addresses and messages without what is secret in them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

HIDDEN = "***"
_RESERVED = re.compile(r"[/?#@:&=\s]+")
_SHORTEST_SECRET = 3
"""Shorter pieces of a password are left in a message: they are in ordinary words, too."""


def without_credentials(url: str) -> str:
    """The URL without user name, password, query and fragment.

    A password that should have been percent-encoded is cut off whole, at the cost of a path that contains an `@`.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    return f"{scheme}://{re.split('[?#]', _split(rest)[1])[0]}"


def redacted(message: str, *urls: str, secrets: Iterable[str] = ()) -> str:
    """The message of a library with these URLs, what is secret in them, and further secrets replaced."""
    for url in urls:
        message = message.replace(url, without_credentials(url))
    found = {secret for url in urls for secret in _secrets(url)} | set(secrets)
    for secret in sorted(found, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            message = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, message)
    return message


def pieces(url: str) -> set[str]:
    """What stands between the separators of a URL, except its scheme; as given and decoded."""
    given = set(_RESERVED.split(url.partition("://")[2])) - {""}
    return given | {unquote(piece) for piece in given}


def _split(rest: str) -> tuple[str, str]:
    """User name with password, and what follows, of a URL without its scheme."""
    authority = re.split("[/?#]", rest)[0]
    if "@" in authority or ":" in authority:
        credentials, _, address = rest.rpartition("@")
        return credentials, address
    return "", rest


def _secrets(url: str) -> set[str]:
    """The password and the values of the query, and the pieces that a library may quote; as given and decoded."""
    credentials, address = _split(url.partition("://")[2])
    password = credentials.partition(":")[2]
    _, _, query = address.partition("?")
    found = {password, *(item.partition("=")[2] for item in query.split("&"))}
    found |= {piece for secret in found for piece in _RESERVED.split(secret)}
    return found | {unquote(secret) for secret in found}
