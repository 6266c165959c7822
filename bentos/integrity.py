"""The check of the Bento's signature when a process of the server starts, if there is a key for it.

`bentos.service` imports this first, so that of an altered Bento nothing runs but what the check itself needs.
"""

from __future__ import annotations

import os
from pathlib import Path

from polarity.errors import ArtifactError, ConfigurationError, PolarityError
from polarity.inference.signature import KeyOptions, verify

_BENTO = Path(__file__).resolve().parents[2]


def require_signature(bento: Path = _BENTO) -> None:
    """Hold a Bento against its signature if POLARITY_VERIFY_KEY is set; by default the one that this file is in.

    Raises
    ------
    ArtifactError
        If it is not what was signed with that key.
    ConfigurationError
        If the key is none, or the model is not the Bento's.
    """
    key = KeyOptions.read().verify_key
    if not key:
        return
    if os.environ.get("POLARITY_MODEL"):
        raise ConfigurationError("POLARITY_MODEL is not part of a signed Bento; unset it, or POLARITY_VERIFY_KEY.")
    if not (bento / "bento.yaml").is_file():
        raise ArtifactError(f"'{bento}' is no Bento, so it is not signed; serve one, or unset POLARITY_VERIFY_KEY.")
    verify(bento, key)


try:
    require_signature()
except PolarityError as problem:
    raise SystemExit(f"The server cannot start: {problem}") from None
