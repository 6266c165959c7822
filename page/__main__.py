"""`python -m page`: start the page, and print its address."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from page.settings import Settings

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Replace this process by Streamlit's."""
    try:
        settings = Settings.read()
    except ValueError as error:
        sys.exit(f"python -m page: {error}")
    print(f"\n  Page      http://{settings.host}:{settings.port}   (service: {settings.service_url})\n", flush=True)
    paths = [str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    options = ("--server.address", settings.host, "--server.port", str(settings.port))
    command = (sys.executable, "-m", "streamlit", "run", str(HERE / "app.py"), *options)
    os.chdir(HERE)  # Streamlit looks there for .streamlit/config.toml
    os.execve(sys.executable, command, {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))})


if __name__ == "__main__":
    main()
