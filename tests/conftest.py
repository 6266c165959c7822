"""Fixtures that every kind of test may use: real data, and homes of their own for everything that is written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

# Nothing here may phone home, and TensorFlow reads its flag once.
os.environ |= {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "TF_USE_LEGACY_KERAS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}

import httpx._transports.default
import pytest

from polarity.config.settings import settings

# Loading the certificates takes 33 ms of processor time for each client, also for plain HTTP to this machine.
httpx._transports.default.create_ssl_context = cache(httpx._transports.default.create_ssl_context)

PROJECT = Path(__file__).resolve().parents[1]
SHARED_DATA = PROJECT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real tweets, which is beside the checkout or not there."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs the real tweets in ../shared/data, which are not part of the repository")
    return SHARED_DATA


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of the project's own for one test: runs, store, MLflow and Bentos are written here."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("POLARITY_HOME", str(folder))
    monkeypatch.setenv("BENTOML_HOME", str(folder / "bentoml"))
    settings.cache_clear()
    yield folder
    settings.cache_clear()


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[..., Path]:
    """Write rows of (label, text) as a CSV with a header."""

    def write(rows: list[tuple[str, str]], name: str = "tweets.csv", header: str = "label,text") -> Path:
        path = tmp_path / name
        lines = [header, *(f'{label},"{text}"' for label, text in rows)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long tests to `make soak`."""
    if config.getoption("-m"):
        return
    soak = pytest.mark.skip(reason="long; `make soak` runs it")
    for item in items:
        if "soak" in item.keywords:
            item.add_marker(soak)
