"""Folders and addresses, read from the environment and never from the configuration of a run."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from polarity.errors import ConfigurationError

PROJECT = Path(__file__).resolve().parents[3]


class Settings(BaseSettings):
    """Folders and addresses; each can be set as POLARITY_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="POLARITY_", frozen=True)

    home: Path = Field(
        default_factory=lambda: PROJECT if (PROJECT / "pyproject.toml").is_file() else Path.cwd(),
        description="Parent folder of all paths below that are not set themselves. Default: the checkout; the current "
        "folder if the package is installed without one.",
    )
    runs: Path | None = Field(None, description="One folder per training run. Default: <home>/runs.")
    store: str | None = Field(
        None,
        repr=False,
        description="Store of step results: a folder or an fsspec URL (s3://bucket/folder). Default: <home>/store.",
    )
    store_cache: Path | None = Field(
        None, description="Local cache of a store with a URL. Default: <home>/store-cache."
    )
    collected: Path | None = Field(None, description="Folder of collected tweets. Default: <home>/collected.")
    mlflow_uri: str | None = Field(
        None, repr=False, description="MLflow tracking and registry URI. Default: SQLite under <home>/mlruns."
    )
    mlflow_artifacts: str | None = Field(
        None, description="Where MLflow stores artifacts. Default: <home>/mlruns/artifacts."
    )
    ui_url: str = Field("http://127.0.0.1:4280", description="Address at which `make ui` serves runs and Data Docs.")
    mlflow_ui_url: str = Field("http://127.0.0.1:5080", description="Address at which `make ui` serves MLflow.")

    page_url: str = Field("http://127.0.0.1:8501", description="Address of the page that `make page` starts.")

    @property
    def runs_folder(self) -> Path:
        return (self.runs or self.home / "runs").absolute()

    @property
    def downloads_folder(self) -> Path:
        return (self.home / "downloads").absolute()

    @property
    def collected_folder(self) -> Path:
        return (self.collected or self.home / "collected").absolute()

    @property
    def store_url(self) -> str | None:
        """The URL of the store; `None` if it is a folder."""
        return self.store if self.store and "://" in self.store else None

    @property
    def store_folder(self) -> Path:
        """The local folder with the results: the store itself or its cache."""
        if self.store_url:
            return (self.store_cache or self.home / "store-cache").absolute()
        return Path(self.store or self.home / "store").absolute()

    @property
    def tracking_uri(self) -> str:
        if self.mlflow_uri:
            # without a driver name SQLAlchemy would look for psycopg 3
            return re.sub(r"^postgres(ql)?://", "postgresql+psycopg2://", self.mlflow_uri)
        home = require_url_safe(self.home.absolute(), library="MLflow", content="database", setting="POLARITY_HOME")
        return f"sqlite:///{home / 'mlruns' / 'mlflow.db'}"

    @property
    def artifact_root(self) -> str:
        root = self.mlflow_artifacts or str(self.home.absolute() / "mlruns" / "artifacts")
        if "://" not in root and not self.tracking_uri.startswith("http"):  # a server has its own artifact location
            setting = "POLARITY_MLFLOW_ARTIFACTS" if self.mlflow_artifacts else "POLARITY_HOME"
            require_url_safe(Path(root), library="MLflow", content="artifacts", setting=setting)
        return root


def require_url_safe(folder: Path, *, library: str, content: str, setting: str) -> Path:
    """Return `folder` if a library that puts it into a URL would use that same folder.

    SQLAlchemy cuts a path at `?`, and decodes `%20` from its version 2.1 on. Percent-encoding would not help: MLflow
    treats the same URL as a plain path elsewhere, and creates folders with the escape codes in their names.

    Raises
    ------
    ConfigurationError
        If the path contains a `?` or a percent-encoded character. Spaces, `#` and a lone `%` are harmless.
    """
    path = str(folder)
    if found := re.search(r"\?|(%[0-9a-fA-F]{2})+", path):
        reading = f"as {unquote(found[0])!r}" if "%" in found[0] else "as the end of the path"
        raise ConfigurationError(
            f"The folder {path} contains {found[0]!r}, which {library} reads {reading} in the address of its "
            f"{content}. Rename the folder, or set {setting} to a different one."
        )
    return folder


@cache
def settings() -> Settings:
    """Return the settings of this process, read once."""
    return Settings()


def shared_settings() -> dict[str, str]:
    """Return the settings that a flow and its workers on other machines must share."""
    known = settings()
    return {
        "POLARITY_STORE": known.store_url or str(known.store_folder),
        "POLARITY_STORE_CACHE": str(known.store_folder),
        "POLARITY_RUNS": str(known.runs_folder),
        "POLARITY_COLLECTED": str(known.collected_folder),
        "POLARITY_MLFLOW_URI": known.tracking_uri,
        "POLARITY_MLFLOW_ARTIFACTS": known.artifact_root,
    }
