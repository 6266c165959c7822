"""Bentos are signed when they are built, and again whenever a promotion has changed their description or their card."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polarity.errors import ConfigurationError
from polarity.inference.signature import SIGNATURE, KeyOptions, sign


def sign_if_keyed(folder: Path, tag: str) -> None:
    """Sign a Bento, if there is a key for it (POLARITY_SIGNING_KEY)."""
    if key := KeyOptions.read().signing_key:
        sign(folder, key, name=tag)


@contextmanager
def changing(folder: Path, tag: str) -> Iterator[None]:
    """Sign a Bento after the block, which changes its files.

    Raises
    ------
    ConfigurationError
        Before the block, if the Bento is signed but there is no key to sign it again.
    """
    if not KeyOptions.read().signing_key and (folder / SIGNATURE).is_file():
        raise ConfigurationError(
            f"{tag} is signed, and POLARITY_SIGNING_KEY is not set, so it cannot be signed again after this change. "
            "Set it to the private key of the team's."
        )
    yield
    sign_if_keyed(folder, tag)
