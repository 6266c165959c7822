"""The Bentos that BentoML keeps, and which of them is `sentiment:latest`.

A promotion makes `sentiment:VERSION` of a candidate and points
`sentiment:latest` at it; a rollback is the promotion of an older one. Every
step is whole or not done, and can be done again after a kill.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from polarity.bento import bentoml_store
from polarity.errors import ArtifactError
from polarity.inference.package import ModelManifest

if TYPE_CHECKING:
    from bentoml import Bento

CHAMPION = "sentiment"
MODEL_FOLDER = "model"
_COPY_PREFIX = "promotion-"


def home() -> Path:
    """BentoML's home folder, read anew each time."""
    return Path(os.environ.get("BENTOML_HOME") or Path.home() / "bentoml")


def promoted_tag(candidate: str) -> str:
    """The tag that a candidate's Bento has once promoted."""
    return f"{CHAMPION}:{candidate.partition(':')[2]}"


def promote(tag: str) -> str:
    """Let `sentiment:latest` be the Bento `tag`, and nothing else.

    Parameters
    ----------
    tag : str
        A candidate, or what became of one before; the candidate itself is needed only the first time.

    Returns
    -------
    str
        The tag under the champion's name.

    Raises
    ------
    ArtifactError
        If the Bento is neither there as a candidate nor as a champion of before.
    """
    champion = promoted_tag(tag)
    if not exists(champion):
        if not exists(tag):
            raise ArtifactError(
                f"Got {tag!r}; the Bento store '{home()}' has neither it nor {champion}. Package again."
            )
        delete(champion)
        _copy(tag, champion)
    _point_latest(champion)
    return champion


def latest(name: str = CHAMPION) -> str | None:
    """The tag behind `NAME:latest`, or None if there is none."""
    found = bentoml_store.find(home(), f"{name}:latest")
    return str(found.tag) if found else None


def exists(tag: str) -> bool:
    """Whether the Bento is there and whole."""
    try:
        ModelManifest.read(model_folder(tag))
    except (ArtifactError, OSError):
        return False
    found = bentoml_store.find(home(), tag)
    return found is not None and str(found.tag) == tag


def tags(name: str = CHAMPION) -> list[str]:
    """All Bentos of a name that can be read, the newest first."""
    found = sorted(bentoml_store.list_all(home(), name), key=lambda bento: bento.creation_time, reverse=True)
    return [str(bento.tag) for bento in found]


def made(tag: str) -> datetime:
    """When a Bento was built, or promoted last.

    Raises
    ------
    ArtifactError
        If it is not there.
    """
    time: datetime = _get(tag).creation_time
    return time.replace(tzinfo=time.tzinfo or UTC)


def half_copies() -> list[Path]:
    """Folders in which a promotion was at work."""
    return sorted(home().glob(f"{_COPY_PREFIX}*"))


def delete(tag: str) -> None:
    """Remove a Bento; what is not there is no error."""
    if not bentoml_store.delete(home(), tag):
        # a partial Bento has no description that BentoML could read
        shutil.rmtree(bento_folder(tag), ignore_errors=True)


def model_folder(tag: str) -> Path:
    """The packaged model inside a Bento."""
    return bento_folder(tag) / "src" / MODEL_FOLDER


def place(source: Path, target: Path) -> None:
    """Put a file at `target`: linked where that can be done, else copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def bento_folder(tag: str) -> Path:
    """Where BentoML keeps a Bento."""
    name, _, version = tag.partition(":")
    return home() / "bentos" / name / version


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _get(tag: str) -> Bento:
    found = bentoml_store.find(home(), tag)
    if found is None:
        raise ArtifactError(f"Got {tag!r}, which the Bento store '{home()}' does not have. Package again.")
    return found


def _copy(tag: str, champion: str) -> None:
    """Make the Bento `champion` of the Bento `tag`, whole or not at all."""
    bento = _get(tag)
    target = bento_folder(champion)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside `bentos`, where BentoML looks for nothing, and on the same file system.
    draft = Path(tempfile.mkdtemp(prefix=_COPY_PREFIX, dir=home()))
    try:
        for file in _files(Path(bento.path)):
            place(file, draft / file.relative_to(bento.path))
        _describe(bento, draft, champion)
        draft.chmod(0o755)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _point_latest(champion: str) -> None:
    """Point `latest` at a Bento, by BentoML's rule (the newest) and by its pointer."""
    if latest() == champion:
        return
    bento = _get(champion)
    _describe(bento, Path(bento.path), champion)
    pointer = bentoml_store.latest_pointer(home(), bento.tag.name)
    draft = pointer.with_name(f".latest-{os.getpid()}")
    draft.write_text(str(bento.tag.version))
    draft.replace(pointer)


def _describe(bento: Bento, folder: Path, tag: str) -> None:
    """Write a Bento's description with another tag, as the newest of its name."""
    others = [other.creation_time for other in bentoml_store.list_all(home(), tag.partition(":")[0])]
    newest = max([datetime.now(UTC), *(time + timedelta(milliseconds=1) for time in others)])
    draft = folder / ".bento.yaml"
    bentoml_store.describe_as(bento, draft, tag, newest)
    draft.replace(folder / "bento.yaml")
