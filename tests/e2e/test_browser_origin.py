"""Pages of other origins in a real browser: only those of `POLARITY_CORS_ORIGINS` may call the server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_ui import CHROMIUM
from tests.integration.servers import static_site

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytestmark = [
    pytest.mark.skipif("BASE_URL" in os.environ, reason="needs a server of its own"),
    pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium (Debian: apt-get install chromium)"),
]

ASK = """async (url) => {
  const send = (path, body) => fetch(url + path, {
    method: "POST",
    headers: {"Content-Type": "application/json", "X-API-Key": "key", "X-Source": "page", "X-Request-ID": "r-1"},
    body: JSON.stringify(body),
  });
  try {
    const answer = await send("/predict", {text: "what a lovely day"});
    const refused = await send("/predict", {text: " "});
    return [answer.status, (await answer.json()).sentiment !== undefined, refused.status,
            answer.headers.get("X-Request-ID")];
  } catch (error) {
    return [String(error)];
  }
}"""


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The addresses of a page of two origins."""
    (tmp_path / "index.html").write_text("<!doctype html><title>A page</title>")
    with static_site(tmp_path) as port:
        yield f"http://127.0.0.1:{port}", f"http://localhost:{port}"


def test_only_pages_of_the_named_origins_get_answers(serve: Any, pages: tuple[str, str]) -> None:
    allowed, other = pages
    with (
        serve(POLARITY_API_KEY="key", POLARITY_CORS_ORIGINS=allowed) as server,
        sync_api.sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            page = browser.new_page()
            page.goto(f"{allowed}/")
            assert page.evaluate(ASK, server.url) == [200, True, 400, "r-1"]
            page.goto(f"{other}/")
            assert "Failed to fetch" in page.evaluate(ASK, server.url)[0]
        finally:
            browser.close()
