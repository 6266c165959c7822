"""`python -m page`: start the page, and print its address."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from page.settings import Settings

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Run Streamlit in this process."""
    try:
        settings = Settings.read()
    except ValueError as error:
        sys.exit(f"python -m page: {error}")
    print(f"\n  Page      http://{settings.host}:{settings.port}   (service: {settings.service_url})\n", flush=True)
    os.chdir(HERE)  # Streamlit looks there for .streamlit/config.toml
    from streamlit.web.cli import main as streamlit

    address = ("--server.address", settings.host, "--server.port", str(settings.port))
    streamlit(("run", "app.py", *address), prog_name="streamlit")


if __name__ == "__main__":
    main()
