"""A real Prefect server for the whole session, and home folders for the flows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from polarity.config.settings import settings
from tests.integration.servers import PrefectServer


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API address of a dedicated Prefect server on SQLite."""
    server = PrefectServer(tmp_path_factory.mktemp("prefect"))
    server.start()
    try:
        os.environ["PREFECT_API_URL"] = server.api
        os.environ["PREFECT_HOME"] = str(server.home)
        with temporary_settings({PREFECT_API_URL: server.api, PREFECT_HOME: server.home}):
            yield server.api
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        os.environ.pop("PREFECT_HOME", None)
        server.stop()


@pytest.fixture(scope="module")
def module_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home folder shared by the tests of one module, so that they can reuse trained models."""
    folder = tmp_path_factory.mktemp("home")
    before = {name: os.environ.get(name) for name in ("POLARITY_HOME", "BENTOML_HOME")}
    os.environ["POLARITY_HOME"] = str(folder)
    os.environ["BENTOML_HOME"] = str(folder / "bentoml")
    settings.cache_clear()
    yield folder
    settings.cache_clear()
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
