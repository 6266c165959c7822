"""What the first screen need not wait for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from page import service

PROJECT = Path(service.__file__).parents[1]


def test_the_http_client_is_loaded_by_the_first_call_only() -> None:
    code = """
import sys
from page.service import Service
known = Service("http://127.0.0.1:1")
assert "httpx" not in sys.modules
assert not known.is_ready()
assert "httpx" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True, timeout=60)
