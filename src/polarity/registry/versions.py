"""Registered versions of a task's model, and the alias of the champion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polarity.config.settings import settings
from polarity.errors import ArtifactError
from polarity.pipeline.config import DEFAULT_TASK
from polarity.registry.mlflow_client import connect, delete_artifacts, lock, translate_mlflow_errors
from polarity.registry.tasks import CHAMPION, model_name, served_task

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


_LOGGED = "models:/"


@dataclass(frozen=True)
class Version:
    """A registered version: its number, the run that produced it, and its tags."""

    number: int
    run_id: str
    name: str
    family: str
    fingerprint: str
    bento: str | None
    tags: Mapping[str, str]
    created: datetime

    def __str__(self) -> str:
        return f"{self.name} (version {self.number})"


@dataclass(frozen=True)
class Registry:
    """MLflow's registry of the model of one task.

    Parameters
    ----------
    uri : str
        URI of MLflow's tracking store, which also holds the registry.
    task : str
    """

    uri: str
    task: str = DEFAULT_TASK

    @classmethod
    def open(cls, uri: str | None = None, *, task: str | None = None) -> Registry:
        """The registry of a task, by default of the one that is served.

        Parameters
        ----------
        uri : str, optional
            Default: that of `polarity.config.settings`.
        task : str, optional
        """
        uri = uri or settings().tracking_uri
        return cls(uri, task or served_task(uri))

    @property
    def model(self) -> str:
        """The name of the registered model in MLflow."""
        return model_name(self.task)

    @translate_mlflow_errors
    def register(
        self,
        model_uri: str,
        *,
        run_id: str,
        name: str,
        family: str,
        fingerprint: str,
        tags: Mapping[str, str] | None = None,
    ) -> Version:
        """Register a candidate once; a known `fingerprint` returns the existing version.

        Parameters
        ----------
        model_uri : str
            As returned by `polarity.registry.tracking.Tracker.log_model`.
        run_id, name, family : str
            Of the candidate.
        fingerprint : str
            Identifies what the candidate was made from, e.g. the cache key of its step.
        tags : mapping, optional
            Additional tags, e.g. `data_digest`, `bento`.
        """
        client = connect(self.uri)
        with lock(self.uri):
            if known := self.find(fingerprint):
                return known
            if not client.search_registered_models(f"name='{self.model}'"):
                client.create_registered_model(self.model, description=f"Tweet classifiers of the task {self.task!r}.")
            kept = {**(tags or {}), "candidate": name, "family": family, "fingerprint": fingerprint}
            # A server refuses a source `models:/ID` without the ID.
            model_id = model_uri.removeprefix(_LOGGED) if model_uri.startswith(_LOGGED) else None
            made = client.create_model_version(self.model, model_uri, run_id=run_id, tags=kept, model_id=model_id)
            return _version(made)

    @translate_mlflow_errors
    def find(self, fingerprint: str) -> Version | None:
        """The version with this fingerprint, or None."""
        if "'" in fingerprint:
            raise ValueError(f"Got fingerprint={fingerprint!r}; it must not contain a quote.")
        found = connect(self.uri).search_model_versions(f"name='{self.model}' and tags.fingerprint='{fingerprint}'")
        return _version(found[0]) if found else None

    @translate_mlflow_errors
    def version(self, number: int) -> Version:
        """The version with this number.

        Raises
        ------
        ArtifactError
            If it does not exist.
        """
        found = [v for v in self.versions() if v.number == number]
        if not found:
            known = [v.number for v in self.versions()]
            registered = f"registered are {known or 'none yet'}"
            raise ArtifactError(f"Version {number} of {self.model!r} does not exist; {registered}.")
        return found[0]

    @translate_mlflow_errors
    def versions(self) -> tuple[Version, ...]:
        """All versions, newest first."""
        found = connect(self.uri).search_model_versions(f"name='{self.model}'", order_by=["version_number DESC"])
        return tuple(_version(v) for v in found)

    @translate_mlflow_errors
    def tag(self, number: int, tags: Mapping[str, str]) -> Version:
        """Set tags of a version, e.g. the `bento` built from it."""
        for key, value in tags.items():
            connect(self.uri).set_model_version_tag(self.model, str(number), key, value)
        return self.version(number)

    @translate_mlflow_errors
    def untag(self, number: int, *keys: str) -> Version:
        """Remove tags of a version, where it has them."""
        present = self.version(number).tags
        for key in keys:
            if key in present:
                connect(self.uri).delete_model_version_tag(self.model, str(number), key)
        return self.version(number)

    @translate_mlflow_errors
    def note(self, key: str) -> str | None:
        """A tag of the registered model as a whole, or None."""
        found = connect(self.uri).search_registered_models(f"name='{self.model}'")
        return found[0].tags.get(key) if found else None

    @translate_mlflow_errors
    def write_note(self, key: str, value: str) -> None:
        """Set a tag of the registered model as a whole."""
        connect(self.uri).set_registered_model_tag(self.model, key, value)

    @translate_mlflow_errors
    def remove(self, version: Version) -> None:
        """Delete a version and its model's files. The run that produced it is kept.

        Raises
        ------
        ValueError
            If it is the champion.
        """
        if version == self.champion():
            raise ValueError(f"Cannot remove {version}: it is the champion.")
        client = connect(self.uri)
        model_id = client.get_model_version(self.model, str(version.number)).model_id
        client.delete_model_version(self.model, str(version.number))
        if model_id:
            delete_artifacts(client.get_logged_model(model_id).artifact_location)
            client.delete_logged_model(model_id)

    @translate_mlflow_errors
    def champion(self) -> Version | None:
        """The version with the alias `champion`, or None."""
        found = connect(self.uri).search_registered_models(f"name='{self.model}'")
        number = found[0].aliases.get(CHAMPION) if found else None
        return self.version(int(number)) if number else None

    @translate_mlflow_errors
    def set_champion(self, number: int | None) -> Version | None:
        """Move the alias `champion` to a version, or delete it (`None`).

        Returns
        -------
        Version or None
            The previous champion; `set_champion` with its number restores it.
        """
        before = self.champion()
        client = connect(self.uri)
        if number is not None:
            client.set_registered_model_alias(self.model, CHAMPION, str(self.version(number).number))
        elif before is not None:
            client.delete_registered_model_alias(self.model, CHAMPION)
        return before

    @translate_mlflow_errors
    def packaged(self, version: Version, scratch: Path | None = None) -> Path:
        """The folder of a version's packaged model, for `load_predictor`.

        Artefacts on this machine are read in place; others are downloaded into `scratch`.

        Raises
        ------
        ArtifactError
            If the artefacts no longer exist.
        """
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        connect(self.uri)
        target = None if scratch is None else str(scratch)
        try:
            saved = Path(download_artifacts(artifact_uri=f"models:/{self.model}/{version.number}", dst_path=target))
        except (MlflowException, OSError) as error:
            raise ArtifactError(f"Cannot get the artefacts of {version}: {error}. Train it again.") from error
        found = sorted(saved.glob("data/*/model.json"))
        if not found:
            raise ArtifactError(f"The artefacts of {version} contain no model.json under {saved}. Train it again.")
        return found[0].parent


def _version(found: ModelVersion) -> Version:
    tags: dict[str, Any] = dict(found.tags)
    return Version(
        number=int(found.version),
        run_id=found.run_id or "",
        name=tags.get("candidate", found.name),
        family=tags.get("family", ""),
        fingerprint=tags.get("fingerprint", ""),
        bento=tags.get("bento"),
        tags=tags,
        created=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
    )
