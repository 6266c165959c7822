"""Registered versions of the model `sentiment`, and which of them is the champion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polarity.config.settings import settings
from polarity.errors import ArtifactError
from polarity.registry.mlflow_client import connect, delete_artifacts, lock, talks_to_mlflow

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

MODEL = "sentiment"
CHAMPION = "champion"


@dataclass(frozen=True)
class Version:
    """A registered version: its number, the run that made it, and its tags."""

    number: int
    run_id: str
    name: str
    family: str
    fingerprint: str
    bento: str | None
    tags: Mapping[str, str]
    made: datetime

    def __str__(self) -> str:
        return f"{self.name} (version {self.number})"


@dataclass(frozen=True)
class Registry:
    """MLflow's registry of the model `sentiment`.

    Parameters
    ----------
    uri : str
        Of MLflow's tracking store, which is its registry too.
    """

    uri: str

    @classmethod
    def open(cls, uri: str | None = None) -> Registry:
        """The registry at `uri`, by default that of `polarity.config.settings`."""
        return cls(uri or settings().tracking_uri)

    @talks_to_mlflow
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
        """Register a candidate once: the same `fingerprint` again gives the version that is there.

        Parameters
        ----------
        model_uri : str
            As `polarity.registry.tracking.Tracker.log_model` returns it.
        run_id, name, family : str
            Of the candidate.
        fingerprint : str
            What the candidate was made from: its step's cache key, for example.
        tags : mapping, optional
            More to know of it, e.g. `data_digest`, `bento`.
        """
        client = connect(self.uri)
        with lock(self.uri):
            if known := self.find(fingerprint):
                return known
            if not client.search_registered_models(f"name='{MODEL}'"):
                client.create_registered_model(MODEL, description="Classifiers of the sentiment of tweets.")
            kept = {**(tags or {}), "candidate": name, "family": family, "fingerprint": fingerprint}
            return _version(client.create_model_version(MODEL, model_uri, run_id=run_id, tags=kept))

    @talks_to_mlflow
    def find(self, fingerprint: str) -> Version | None:
        """The version of a fingerprint, or none."""
        if "'" in fingerprint:
            raise ValueError(f"Got fingerprint={fingerprint!r}; it may not hold a quote.")
        found = connect(self.uri).search_model_versions(f"name='{MODEL}' and tags.fingerprint='{fingerprint}'")
        return _version(found[0]) if found else None

    @talks_to_mlflow
    def version(self, number: int) -> Version:
        """The version of this number.

        Raises
        ------
        ArtifactError
            If there is none.
        """
        found = [v for v in self.versions() if v.number == number]
        if not found:
            known = [v.number for v in self.versions()]
            raise ArtifactError(f"Got version {number} of {MODEL!r}; there are {known or 'none yet'}.")
        return found[0]

    @talks_to_mlflow
    def versions(self) -> tuple[Version, ...]:
        """All versions, the newest first."""
        found = connect(self.uri).search_model_versions(f"name='{MODEL}'", order_by=["version_number DESC"])
        return tuple(_version(v) for v in found)

    @talks_to_mlflow
    def tag(self, number: int, tags: Mapping[str, str]) -> Version:
        """Set tags of a version, e.g. the `bento` that was built of it."""
        for key, value in tags.items():
            connect(self.uri).set_model_version_tag(MODEL, str(number), key, value)
        return self.version(number)

    @talks_to_mlflow
    def remove(self, version: Version) -> None:
        """Take a version off the registry, and its model's files away. The run that made it stays on record.

        Raises
        ------
        ValueError
            If it is the champion.
        """
        if version == self.champion():
            raise ValueError(f"Got {version}, which is the champion; it is not removed.")
        client = connect(self.uri)
        model_id = client.get_model_version(MODEL, str(version.number)).model_id
        client.delete_model_version(MODEL, str(version.number))
        if model_id:
            delete_artifacts(client.get_logged_model(model_id).artifact_location)
            client.delete_logged_model(model_id)

    @talks_to_mlflow
    def champion(self) -> Version | None:
        """The version under the alias `champion`, or none."""
        found = connect(self.uri).search_registered_models(f"name='{MODEL}'")
        number = found[0].aliases.get(CHAMPION) if found else None
        return self.version(int(number)) if number else None

    @talks_to_mlflow
    def set_champion(self, number: int | None) -> Version | None:
        """Move the alias `champion` to a version, or take it away (none).

        Returns
        -------
        Version or None
            Who had it before: `set_champion` with its number restores it.
        """
        before = self.champion()
        client = connect(self.uri)
        if number is not None:
            client.set_registered_model_alias(MODEL, CHAMPION, str(self.version(number).number))
        elif before is not None:
            client.delete_registered_model_alias(MODEL, CHAMPION)
        return before

    @talks_to_mlflow
    def packaged(self, version: Version, scratch: Path | None = None) -> Path:
        """The folder of a version's packaged model, for `load_predictor`.

        Artefacts on this machine are read where they are; others are downloaded into `scratch`.

        Raises
        ------
        ArtifactError
            If the artefacts are gone.
        """
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        connect(self.uri)
        place = None if scratch is None else str(scratch)
        try:
            saved = Path(download_artifacts(artifact_uri=f"models:/{MODEL}/{version.number}", dst_path=place))
        except (MlflowException, OSError) as error:
            raise ArtifactError(f"Cannot get the artefacts of {version}: {error}. Train it again.") from error
        found = sorted(saved.glob("data/*/model.json"))
        if not found:
            raise ArtifactError(f"The artefacts of {version} hold no model.json under {saved}. Train it again.")
        return found[0].parent


def _version(found: ModelVersion) -> Version:
    tags: dict[str, Any] = dict(found.tags)
    return Version(
        number=int(found.version),
        run_id=found.run_id or "",
        name=tags.get("candidate", MODEL),
        family=tags.get("family", ""),
        fingerprint=tags.get("fingerprint", ""),
        bento=tags.get("bento"),
        tags=tags,
        made=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
    )
