"""Encoders on the Hugging Face hub: downloading them, and saying what to do where that is not possible.

The hub's own settings apply: `HF_HOME` (where downloads are kept), `HF_TOKEN`, `HF_HUB_OFFLINE`, `HF_ENDPOINT`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from polarity.errors import ConfigurationError


def download_encoder(name: str, files: Sequence[str], weights: Sequence[str]) -> Path:
    """Download an encoder, or find the copy that was downloaded before, and return its folder.

    Parameters
    ----------
    name : str
        Name on the hub, `owner/name` or `name`.
    files : sequence of str
        Names of all files to take where they exist, except weights.
    weights : sequence of str
        Names of the weights' file; the first one that exists is taken.

    Raises
    ------
    ConfigurationError
        If it does not exist, may not be read, or cannot be reached.
    """
    from huggingface_hub import snapshot_download

    folder = None
    try:
        for choice in weights:
            # A snapshot grows: the files that are there already are not downloaded again.
            folder = Path(snapshot_download(name, allow_patterns=[*files, choice]))
            if (folder / choice).is_file():
                break
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"The encoder '{name}' cannot be loaded from the Hugging Face hub: {_reason(name, error)}"
        ) from error
    if folder is None:
        raise ValueError(f"Got no names of weights for '{name}'; at least one is required.")
    return folder


def _reason(name: str, error: Exception) -> str:
    """What is wrong and what would help. The order matters: a gated repository is also one that is not found."""
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    token = "set HF_TOKEN to a token of your account that may read it"
    otherwise = "or set `encoder` to a folder."
    if isinstance(error, GatedRepoError):
        return f"it is gated. Accept the terms on its page on the hub, then {token} (or run `hf auth login`)."
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"there is no public model of that name. Check the spelling; if it is private, {token} "
            f"(or run `hf auth login`), {otherwise}"
        )
    if constants.HF_HUB_OFFLINE:
        return (
            f"HF_HUB_OFFLINE is set, and '{constants.HF_HUB_CACHE}' has no copy. Download it once without that "
            f"setting, or point HF_HOME to the folder that has it, {otherwise}"
        )
    if isinstance(error, LocalEntryNotFoundError):
        return f"the hub cannot be reached, and '{constants.HF_HUB_CACHE}' has no copy. Check the network, {otherwise}"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{lines[0]} Check the name and the network, {otherwise}"
