"""Where a Bento keeps its packaged model. It is found without BentoML, which the light package does without."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from polarity.errors import ArtifactError
from polarity.inference.package import MANIFEST

MODEL_FOLDER = "model"
_MODEL = PurePosixPath("src", MODEL_FOLDER)
_LATEST = "latest"


def home() -> Path:
    """BentoML's home folder, read from the environment each time."""
    return Path(os.environ.get("BENTOML_HOME") or Path.home() / "bentoml")


def packaged_in(bento: Path) -> Path:
    """The packaged model in a Bento's folder."""
    return bento / _MODEL


def find_bento(bento: str) -> Path | None:
    """The folder of a Bento with a packaged model.

    Parameters
    ----------
    bento : str
        The Bento's folder, or its tag in BentoML's store (`NAME:VERSION` or `NAME:latest`).

    Returns
    -------
    Path or None
        None if there is no such Bento.
    """
    folders = [Path(bento)]
    name, colon, version = bento.partition(":")
    if colon and {name, version}.isdisjoint(("", ".", "..")) and not {"/", "\\"} & set(bento):
        versions = home() / "bentos" / name
        pointer = versions / _LATEST
        if version == _LATEST and pointer.is_file():
            version = pointer.read_text().strip()
        folders.append(versions / version)
    return next((folder for folder in folders if (packaged_in(folder) / MANIFEST).is_file()), None)


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Unpack an exported Bento into a temporary folder, which is called as the file is.

    Parameters
    ----------
    path : Path
        A file that `bentoml export` or `polarity export` wrote.

    Raises
    ------
    ArtifactError
        If the file cannot be read, or has no packaged model.
    """
    with TemporaryDirectory(prefix="polarity-bento-") as temporary:
        folder = Path(temporary) / path.name
        try:
            with tarfile.open(path) as bento:
                bento.extractall(folder, filter="data")
        except (tarfile.TarError, EOFError, OSError) as error:
            raise ArtifactError(f"'{path}' cannot be read as an exported Bento: {error}. Export it again.") from error
        if not (packaged_in(folder) / MANIFEST).is_file():
            raise ArtifactError(f"'{path}' has no {_MODEL / MANIFEST}; give a Bento of this project.")
        yield folder
