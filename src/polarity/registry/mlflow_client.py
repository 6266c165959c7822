"""The connection to MLflow: opened once per process, with errors translated into the project's own.

Also the adapter for the MLflow internals that the project uses (system metrics, artifact repositories, the creation of
a database). They were checked against the version below; tests/unit/test_adapters.py fails when the installed version
differs.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sqlite3
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

from filelock import FileLock

from polarity.config.credentials import redacted, without_credentials
from polarity.errors import ConfigurationError, ServiceUnavailable

if TYPE_CHECKING:
    from mlflow import MlflowClient

P = ParamSpec("P")
R = TypeVar("R")

MLFLOW = "3.17.2"

PROBE_TIMEOUT_S = 5.0
LOCK_TIMEOUT_S = 300.0

_opening = threading.Lock()
_clients: dict[str, MlflowClient] = {}


def connect(uri: str) -> MlflowClient:
    """Return the client of the tracking store and registry at `uri`.

    MLflow migrates an empty database without a lock, and its registry store is
    not safe when several threads use it for the first time (mlflow/mlflow#11283).
    The first use of a URI therefore happens here, under a machine-wide lock.

    Raises
    ------
    ServiceUnavailable
        If the server or database does not respond.
    ConfigurationError
        If the URI's SQLite file cannot be written.
    """
    # MLflow reads these when it is first imported.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # By default MLflow retries an unreachable server for minutes; retrying is up to the step.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    # With an input example MLflow would load the model just to try it.
    warnings.filterwarnings("ignore", message=".*input example was not provided")
    with _opening:
        if uri not in _clients:
            _clients[uri] = _open(uri)
        # Registering a model version reads the process-wide URI, regardless of the client.
        _select(uri)
        return _clients[uri]


def translate_mlflow_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Make `function` raise `ServiceUnavailable` if MLflow or its database does not respond or is locked."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            if _is_unavailable(error):
                import mlflow

                uri = mlflow.get_tracking_uri()
                raise ServiceUnavailable(
                    f"MLflow at {without_credentials(uri)} did not respond "
                    f"({redacted(_first_line(error), uri)}). Check that it is running and not locked, then run "
                    "the same command again."
                ) from error
            raise

    return wrapper


def lock(uri: str) -> FileLock:
    """A machine-wide lock for the store at `uri`."""
    name = hashlib.sha256(uri.encode()).hexdigest()[:16]
    return FileLock(Path(tempfile.gettempdir()) / f"polarity-mlflow-{os.getuid()}-{name}.lock", timeout=LOCK_TIMEOUT_S)


@contextmanager
def system_metrics(run_id: str, uri: str, *, interval_s: float) -> Iterator[None]:
    """Log CPU, memory, disk, network and GPU usage to a run for the duration of the block (MLflow's monitor)."""
    from mlflow.system_metrics import system_metrics_monitor

    monitor_class: Any = system_metrics_monitor.SystemMetricsMonitor
    monitor = monitor_class(run_id, sampling_interval=interval_s, tracking_uri=uri)
    monitor.start()
    try:
        yield
    finally:
        # MLflow writes after each interval, so a block shorter than one would log nothing. As in MLflow's own
        # monitor, a failure here must not fail the work.
        with suppress(Exception):
            monitor.collect_metrics()
            monitor.publish_metrics(monitor.aggregate_metrics())
        monitor.finish()


def delete_artifacts(location: str) -> None:
    """Delete everything under an artifact location, which MLflow's client cannot do for a logged model."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository: Any = get_artifact_repository(location)
    repository.delete_artifacts()


# Where MLflow's database has absolute paths: of artifacts, and of a run's folder in a tag of ours.
_PATHS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("tags", "value"),
)


def relocate(database: Path, moved: Mapping[str, str]) -> None:
    """Change the paths in an SQLite database of MLflow that nobody uses, for folders that have moved.

    Parameters
    ----------
    database : Path
    moved : mapping
        Old folder -> new folder.
    """
    with closing(sqlite3.connect(database)) as connection, connection:
        for table, column in _PATHS:
            for old, new in moved.items():
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ? || '/'",
                    (new, len(old) + 1, old, len(old) + 1, old),
                )


def _select(uri: str) -> None:
    import mlflow

    if mlflow.get_tracking_uri() != uri:
        mlflow.set_tracking_uri(uri)
    if mlflow.get_registry_uri() != uri:
        mlflow.set_registry_uri(uri)


def _open(uri: str) -> MlflowClient:
    _probe(uri)
    from mlflow import MlflowClient

    with lock(uri):
        if _kind(uri) == "sqlite":
            _create(_sqlite_file(uri))
        _select(uri)
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        _first_use(client)
    return client


def _create(path: Path) -> None:
    """Create the database if there is none; called with the lock.

    MLflow migrates a new one for seconds, not in a transaction: a process killed meanwhile would leave a database that
    neither MLflow nor its migrations can use any more. So it is made under another name.
    """
    if path.exists():
        return
    from mlflow.store.db import utils

    for abandoned in path.parent.glob(f".{path.name}.*"):
        abandoned.unlink()
    draft = path.with_name(f".{path.name}.new")
    engine = utils.create_sqlalchemy_engine_with_retry(f"sqlite:///{draft}")  # type: ignore[no-untyped-call]
    utils._initialize_tables(engine)  # type: ignore[no-untyped-call]
    engine.dispose()
    draft.replace(path)


@translate_mlflow_errors
def _first_use(client: MlflowClient) -> None:
    client.search_experiments(max_results=1)
    client.search_registered_models(max_results=1)


def _probe(uri: str) -> None:
    """Fail immediately where MLflow would retry for minutes."""
    kind = _kind(uri)
    if kind == "sqlite":
        path = _sqlite_file(uri)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"Cannot create MLflow's folder {path.parent}: {error.strerror}.") from error
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise ConfigurationError(f"MLflow's database {path} is not writable; set POLARITY_MLFLOW_URI or _HOME.")
        if path.exists():
            _require_unlocked(path)
    elif kind in ("http", "https"):
        import httpx

        try:
            httpx.get(f"{uri.rstrip('/')}/health", timeout=PROBE_TIMEOUT_S)
        except httpx.InvalidURL as error:
            raise ConfigurationError(
                f"Got the MLflow URI {without_credentials(uri)!r}, which is not a URL ({redacted(str(error), uri)}); "
                "reserved characters in a user name or password are percent-encoded (/ as %2F)."
            ) from None  # the error quotes a part of the password
        except httpx.HTTPError as error:
            raise ServiceUnavailable(
                f"The MLflow server {without_credentials(uri)} does not respond: {error}. Start it, or set a "
                "different one with POLARITY_MLFLOW_URI."
            ) from error
    elif kind == "postgresql":
        import psycopg2

        try:
            address = uri.replace("postgresql+psycopg2", "postgresql")
            psycopg2.connect(address, connect_timeout=round(PROBE_TIMEOUT_S)).close()
        except psycopg2.Error as error:
            raise ServiceUnavailable(
                f"MLflow's database {without_credentials(uri)} does not respond: {redacted(_first_line(error), uri)}. "
                "Start it, or set a different one with POLARITY_MLFLOW_URI; reserved characters in a password are "
                "percent-encoded (/ as %2F)."
            ) from None  # the error may quote a part of the password
    else:
        raise ConfigurationError(
            f"Got the MLflow URI {without_credentials(uri)!r}; it must start with sqlite:///, postgresql:// or "
            "http(s)://."
        )


def _kind(uri: str) -> str:
    """The kind of store, without its driver."""
    return urlsplit(uri).scheme.split("+")[0]


def _sqlite_file(uri: str) -> Path:
    """The file that SQLAlchemy opens: what is before the `?`, as it is."""
    path, _, query = uri.partition(":///")[2].partition("?")
    if "/" in query:
        raise ConfigurationError(
            f"Got the MLflow URI {uri!r}, in which the path ends at the '?'. If the '?' is part of a folder's name, "
            "choose another folder (POLARITY_MLFLOW_URI)."
        )
    return Path(path)


def _require_unlocked(path: Path) -> None:
    with closing(sqlite3.connect(path, timeout=PROBE_TIMEOUT_S)) as database:
        try:
            database.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.OperationalError as error:
            raise ServiceUnavailable(
                f"MLflow's database {path} cannot be read: {error}. Stop the process that locks it, or use PostgreSQL "
                "(POLARITY_MLFLOW_URI), which supports concurrent access; then run the same command again."
            ) from error


def _is_unavailable(error: Exception) -> bool:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import OperationalError

    if isinstance(error, MlflowException):
        return error.error_code == "TEMPORARILY_UNAVAILABLE" or "API request to" in str(error)
    return isinstance(error, OperationalError | ConnectionError | TimeoutError)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
