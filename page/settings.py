"""Where the service is, and where the page itself listens; read from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

_PROJECT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Settings:
    """Addresses of the page and of what it talks to.

    Attributes
    ----------
    service_url : str
        POLARITY_URL. Default: the service that `make serve` starts.
    api_key : str
        POLARITY_API_KEY; the first one, if it lists several as it does for the service. Empty: none is sent.
    host, port : str, int
        POLARITY_PAGE_URL: where the page listens. By default on this machine alone, because the page asks nobody
        who they are and shows whatever its key may read.
    runs_url : str
        POLARITY_UI_URL: where `make ui` serves the runs.
    prefect_url, prefect_login : str
        PREFECT_API_URL, and PREFECT_API_AUTH_STRING (`user:password`), if the server wants one.
    uploads : Path
        POLARITY_UPLOADS: where files to train on are put; Prefect's worker reads them there.
    """

    service_url: str
    api_key: str
    host: str
    port: int
    runs_url: str
    prefect_url: str
    prefect_login: str
    uploads: Path

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings.

        Raises
        ------
        ValueError
            If an address is not an http or https URL.
        """
        service = _address(environment, "POLARITY_URL", "http://127.0.0.1:3000")
        page = urlsplit(_address(environment, "POLARITY_PAGE_URL", "http://127.0.0.1:8501"))
        keys = [key.strip() for key in environment.get("POLARITY_API_KEY", "").split(",")]
        return cls(
            service,
            next(filter(None, keys), ""),
            page.hostname or "127.0.0.1",
            page.port or 80,
            _address(environment, "POLARITY_UI_URL", "http://127.0.0.1:4280"),
            _address(environment, "PREFECT_API_URL", "http://127.0.0.1:4200/api"),
            environment.get("PREFECT_API_AUTH_STRING", ""),
            Path(environment.get("POLARITY_UPLOADS") or _PROJECT / "uploads").expanduser().absolute(),
        )


def _address(environment: Mapping[str, str], name: str, default: str) -> str:
    given = environment.get(name) or default
    parts = urlsplit(given)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"Got {name} without a scheme or a host; it must be an address such as {default}.")
    return given.rstrip("/")
