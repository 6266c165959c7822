"""The simplest requests, which are read without a parser: a whole POST to /predict or /predict/batch in one piece."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from polarity.serving.trace_context import correlation

# Only unambiguous requests are answered without the parser; all others take the normal path.
_SIMPLE = re.compile(rb"POST (/predict(?:/batch)?) HTTP/1\.1((?:\r\n[a-z-]+: ?[!-~ ]*)+)", re.IGNORECASE)
_LENGTH = re.compile(rb"^content-length: ?([0-9]{1,7})\r?$", re.MULTILINE)
# A response in a requested language, to another origin (CORS), to a chunked body, or the last one of a connection.
_SPECIAL = re.compile(
    rb"^(?:accept-language|origin|transfer-encoding|expect|upgrade|connection(?!: ?keep-alive\r?$))", re.MULTILINE
)
_HEADER = re.compile(rb"\r\n([a-z-]+): ?([!-~ ]*)", re.IGNORECASE)
_MAX_HEAD_BYTES = 2048
_END = b"\r\n\r\n"


class SimpleHead(NamedTuple):
    """The first line and the headers of a simple request.

    Attributes
    ----------
    headers : tuple of (bytes, bytes)
        With names in lower case.
    encoded : bool
        Whether the body has a content encoding.
    given_back : bytes
        The headers of the response by which the client finds its request again.
    """

    path: str
    body_bytes: int
    headers: tuple[tuple[bytes, bytes], ...]
    encoded: bool
    given_back: bytes


def read_simple(data: bytes) -> tuple[SimpleHead, bytes, bytes] | None:
    """The head and the body of the whole simple request that `data` begins with, and what follows, otherwise None."""
    end = data.find(_END, 0, _MAX_HEAD_BYTES + len(_END))
    if end < 0 or (head := _read_head(data[:end])) is None:
        return None
    start = end + len(_END)
    stop = start + head.body_bytes
    if stop > len(data):
        return None
    return head, data[start:stop], data[stop:]


@lru_cache(maxsize=1024)
def _read_head(head: bytes) -> SimpleHead | None:
    """Cached: a client repeats the same head."""
    if (request := _SIMPLE.fullmatch(head)) is None:
        return None
    lines = request[2].lower()
    lengths = _LENGTH.findall(lines)
    # Every line counts, also one in a form that is not read here.
    if len(lengths) != 1 or lines.count(b"\r\ncontent-length:") != 1 or _SPECIAL.search(lines):
        return None
    headers = tuple((name.lower(), value) for name, value in _HEADER.findall(request[2]))
    encoded = any(name == b"content-encoding" for name, _ in headers)
    given_back = b"".join(b"%s: %s\r\n" % header for header in correlation(headers).headers())
    return SimpleHead(request[1].decode("ascii"), int(lengths[0]), headers, encoded, given_back)
