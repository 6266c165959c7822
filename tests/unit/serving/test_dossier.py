"""GET /model gives programs JSON and people a page; without a dossier it is the card alone, as before."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from bentos.replies import prefers_html
from polarity.inference.package import DOSSIER, DOSSIER_PAGE, ModelManifest
from polarity.serving.contract import Contract, Served

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.fixture
def client(tmp_path: Path, packaged: Path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """The API with a contract whose model has no backend, since nothing is predicted."""
    from bentos.api import api

    served = Served(ModelManifest.read(packaged), "1", "sentiment:1", dossier=tmp_path)
    monkeypatch.setattr(api.state, "contract", Contract(served, None, None))  # type: ignore[arg-type]
    return TestClient(api)


@pytest.fixture
def packaged(tmp_path: Path) -> Path:
    folder = tmp_path / "packaged"
    folder.mkdir()
    ModelManifest.describe(
        folder, [], family="logistic", name="logistic", labels=("negative", "positive"), precision="fp32",
        temperature=1.0, max_tokens=None, card={"run_id": "a run"},
    ).write(folder)  # fmt: skip
    return folder


def test_the_card_has_the_dossier_if_there_is_one(client: TestClient, tmp_path: Path) -> None:
    plain = client.get("/model", headers={"accept": BROWSER})
    assert plain.headers["content-type"] == "application/json" and plain.headers["vary"] == "Accept"
    assert plain.json()["card"] == {"run_id": "a run"} and "dossier" not in plain.json()
    (tmp_path / DOSSIER).write_text('{"format": 1}')
    (tmp_path / DOSSIER_PAGE).write_text("<p>a page</p>")
    for accept in ("*/*", "application/json", "application/json, text/html;q=0.5"):
        assert client.get("/model", headers={"accept": accept}).json() == {**plain.json(), "dossier": {"format": 1}}
    page = client.get("/model", headers={"accept": BROWSER})
    assert page.text == "<p>a page</p>" and page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"] and page.headers["vary"] == "Accept"


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        ("", False), ("*/*", False), (BROWSER, True), ("text/html", True), ("TEXT/HTML; Q=0.1", True),
        ("text/html;q=0", False), ("text/html;q=0.5, application/json", False), ("text/html;q=x", False),
        (",;,text/html", True),
    ],
)  # fmt: skip
def test_a_page_is_for_who_names_html_first(accept: str, html: bool) -> None:
    assert prefers_html(accept) is html
