"""The Bentos in BentoML's store, and promotion to `sentiment:latest`.

A promotion copies a candidate to `sentiment:VERSION` and points
`sentiment:latest` at it; a rollback promotes an older one. Every step is
atomic and can be repeated after a kill.
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
from polarity.bento.layout import MODEL_FOLDER as MODEL_FOLDER
from polarity.bento.layout import home as home
from polarity.bento.signing import changing
from polarity.errors import ArtifactError
from polarity.inference.package import ModelManifest

if TYPE_CHECKING:
    from bentoml import Bento

CHAMPION = "sentiment"
_COPY_PREFIX = "promotion-"


def promoted_tag(candidate: str) -> str:
    """The tag of a candidate's Bento after promotion."""
    return f"{CHAMPION}:{candidate.partition(':')[2]}"


def promote(tag: str, *, latest: bool = True) -> str:
    """Copy the Bento `tag` to `sentiment:VERSION`, and point `sentiment:latest` at it.

    Parameters
    ----------
    tag : str
        A candidate, or a Bento promoted earlier. The candidate itself is needed only for its first promotion.
    latest : bool
        False for the champion of a task that is not the served one: `sentiment:latest` stays as it is.

    Returns
    -------
    str
        The promoted tag.

    Raises
    ------
    ArtifactError
        If the store has neither the candidate nor its promoted copy.
    ConfigurationError
        If the Bento is signed, and there is no key to sign it again after it has been changed.
    """
    champion = promoted_tag(tag)
    if not exists(champion):
        if not exists(tag):
            raise ArtifactError(
                f"Cannot promote {tag!r}: the Bento store '{home()}' has neither it nor {champion}. Package it again."
            )
        delete(champion)
        _copy(tag, champion, newest=latest)
    if latest:
        _point_latest(champion)
    return champion


def latest(name: str = CHAMPION) -> str | None:
    """The tag that `NAME:latest` points at, or None."""
    found = bentoml_store.find(home(), f"{name}:latest")
    return str(found.tag) if found else None


def exists(tag: str) -> bool:
    """Whether the Bento exists and is complete."""
    try:
        ModelManifest.read(model_folder(tag))
    except (ArtifactError, OSError):
        return False
    found = bentoml_store.find(home(), tag)
    return found is not None and str(found.tag) == tag


def tags(name: str = CHAMPION) -> list[str]:
    """Tags of all readable Bentos with a name, newest first."""
    found = sorted(bentoml_store.list_all(home(), name), key=lambda bento: bento.creation_time, reverse=True)
    return [str(bento.tag) for bento in found]


def created(tag: str) -> datetime:
    """When a Bento was built or last promoted.

    Raises
    ------
    ArtifactError
        If it does not exist.
    """
    time: datetime = _get(tag).creation_time
    return time.replace(tzinfo=time.tzinfo or UTC)


def interrupted_promotions() -> list[Path]:
    """Draft folders of promotions that are running or were interrupted."""
    return sorted(home().glob(f"{_COPY_PREFIX}*"))


def delete(tag: str) -> None:
    """Remove a Bento, if it exists."""
    if not bentoml_store.delete(home(), tag):
        # BentoML cannot read a partial Bento, which has no description
        shutil.rmtree(bento_folder(tag), ignore_errors=True)


def export_bento(tag: str, path: Path) -> None:
    """Write a Bento into one file, which `bentoml import` reads.

    Raises
    ------
    ArtifactError
        If the Bento does not exist.
    """
    _get(tag)
    bentoml_store.export(home(), tag, path)


def locate(bento: str) -> Path:
    """The folder of a Bento that is given by its tag (`NAME:VERSION` or `NAME:latest`) or by its folder.

    Raises
    ------
    ArtifactError
        If there is none.
    """
    folder = Path(bento)
    return folder if (folder / "bento.yaml").is_file() else Path(_get(bento).path)


def model_folder(tag: str) -> Path:
    """The packaged model inside a Bento."""
    return bento_folder(tag) / "src" / MODEL_FOLDER


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link a file to `target`, or copy it if that is not possible."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def bento_folder(tag: str) -> Path:
    """The folder of a Bento in BentoML's store."""
    name, _, version = tag.partition(":")
    return home() / "bentos" / name / version


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _get(tag: str) -> Bento:
    found = bentoml_store.find(home(), tag)
    if found is None:
        raise ArtifactError(f"The Bento {tag!r} is not in the Bento store '{home()}'. Package it again.")
    return found


def _copy(tag: str, champion: str, *, newest: bool) -> None:
    """Copy the Bento `tag` to `champion` atomically."""
    bento = _get(tag)
    target = bento_folder(champion)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside `bentos`: ignored by BentoML, and on the same file system.
    draft = Path(tempfile.mkdtemp(prefix=_COPY_PREFIX, dir=home()))
    try:
        for file in _files(Path(bento.path)):
            link_or_copy(file, draft / file.relative_to(bento.path))
        with changing(draft, champion):
            _describe(bento, draft, champion, newest=newest)
        draft.chmod(0o755)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _point_latest(champion: str) -> None:
    """Point `latest` at a Bento, by BentoML's rule (the newest) and by its pointer."""
    if latest() == champion:
        return
    bento = _get(champion)
    with changing(Path(bento.path), champion):
        _describe(bento, Path(bento.path), champion, newest=True)
    pointer = bentoml_store.latest_pointer(home(), bento.tag.name)
    draft = pointer.with_name(f".latest-{os.getpid()}")
    draft.write_text(str(bento.tag.version))
    draft.replace(pointer)


def _describe(bento: Bento, folder: Path, tag: str, *, newest: bool) -> None:
    """Write a Bento's description with a different tag, as the newest of its name or as older than its `latest`."""
    others = [other.creation_time for other in bentoml_store.list_all(home(), tag.partition(":")[0])]
    if newest or not others:
        created = max([datetime.now(UTC), *(time + timedelta(milliseconds=1) for time in others)])
    else:
        created = max(others) - timedelta(milliseconds=1)
    draft = folder / ".bento.yaml"
    bentoml_store.describe_as(bento, draft, tag, created)
    draft.replace(folder / "bento.yaml")
