"""Ids of predictions: the time, so that an index on them stays compact, and noise that nobody guesses."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

_NOISE_BYTES, _AT_ONCE = 9, 512


def _noise() -> Iterator[str]:
    """The system's random bytes in hexadecimal digits, asked for in blocks: a call for each was 9 % of an answer."""
    while True:
        block = secrets.token_hex(_NOISE_BYTES * _AT_ONCE)
        digits = 2 * _NOISE_BYTES
        yield from (block[at : at + digits] for at in range(0, len(block), digits))


_unused = _noise()


def prediction_id(at: float) -> str:
    """A new id for a prediction made `at` seconds since 1970. For one thread: the event loop's."""
    return f"{int(at * 1e6):014x}{next(_unused)}"
