"""Prediction ids: a timestamp, so that an index on them stays compact, and unguessable random digits."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

_RANDOM_BYTES, _IDS_PER_BLOCK = 9, 512


def _random_digits() -> Iterator[str]:
    """Random hexadecimal digits, requested from the system in blocks: one call per id took 9 % of a request's time."""
    while True:
        block = secrets.token_hex(_RANDOM_BYTES * _IDS_PER_BLOCK)
        digits = 2 * _RANDOM_BYTES
        yield from (block[at : at + digits] for at in range(0, len(block), digits))


_unused = _random_digits()


def prediction_id(at: float) -> str:
    """A new id for a prediction made `at` seconds since 1970. Not thread-safe: call it on the event loop only."""
    return f"{int(at * 1e6):014x}{next(_unused)}"
