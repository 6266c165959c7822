"""Find a model that was trained earlier."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from polarity.bento.layout import find_bento, packaged_in
from polarity.errors import ConfigurationError
from polarity.inference.package import MANIFEST, ModelManifest
from polarity.registry.versions import Registry


@dataclass(frozen=True)
class StoredModel:
    """A packaged model and its display name."""

    title: str
    folder: Path
    manifest: ModelManifest


def find_model(name: str, task: str | None = None) -> StoredModel:
    """Find a packaged model by name.

    Parameters
    ----------
    name : str
        `champion`, the number of a registered version, the folder of a packaged model, or a Bento: its folder, or its
        tag in BentoML's store.
    task : str, optional
        Of the champion or version. Default: the one that `sentiment:latest` serves.

    Raises
    ------
    ConfigurationError
        If there is no such model; the message lists the registered versions.
    """
    folder = Path(name)
    if (folder / MANIFEST).is_file():
        return StoredModel(str(folder), folder, ModelManifest.read(folder))
    if bento := find_bento(name):
        return StoredModel(name, packaged_in(bento), ModelManifest.read(packaged_in(bento)))
    registry = Registry.open(task=task)
    versions = {str(version.number): version for version in registry.versions()}
    version = registry.champion() if name == "champion" else versions.get(name)
    if version is None:
        known = ", ".join(f"{number} ({found.name})" for number, found in versions.items()) or "none yet; train first"
        raise ConfigurationError(
            f"There is no model {name!r}. Give `champion`, a registered version, a Bento, or the folder of a "
            f"packaged model. Versions of the task {registry.task}: {known}."
        )
    folder = registry.packaged(version)
    return StoredModel(str(version), folder, ModelManifest.read(folder))
