"""The pages of the runs: files, listings, and nothing outside the folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from ops.pages import application
from tests.unit.evaluation.run_folder import make_run


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    run = tmp_path / "runs" / "20260101 5% #1?"
    run.mkdir(parents=True)
    (run / "summary.json").write_text('{"text": "é"}')
    (run / "report.html").write_text("<p>a report")
    (run / "<b>.txt").write_text("x")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "runs" / "outside").symlink_to(tmp_path)
    (tmp_path / "runs" / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "runs" / "loop").symlink_to(tmp_path / "runs" / "loop")
    return TestClient(application(tmp_path / "runs"))


RUN = "/runs/20260101%205%25%20%231%3F"


def test_a_folder_is_listed_and_its_names_are_escaped(client: TestClient) -> None:
    page = client.get(RUN)
    assert page.status_code == 200 and page.url.path.endswith("/"), "the links in it are relative"
    assert "&lt;b&gt;.txt" in page.text and "<b>" not in page.text
    assert 'href="%3Cb%3E.txt"' in page.text
    assert client.get(f"{RUN}/%3Cb%3E.txt").text == "x"


def test_folder_is_listed_whatever_is_in_it(client: TestClient, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "odd"
    run.mkdir()
    (run / "dangling").symlink_to(run / "nowhere")
    Path(os.fsdecode(os.fsencode(run) + b"/caf\xe9.txt")).write_text("x")
    page = client.get("/runs/odd/")
    assert page.status_code == 200
    assert "caf\ufffd.txt" in page.text and 'href="caf%E9.txt"' in page.text and "dangling" not in page.text


def test_text_is_shown_and_pages_are_pages(client: TestClient) -> None:
    assert client.get(f"{RUN}/summary.json").headers["content-type"] == "text/plain; charset=utf-8"
    assert client.get(f"{RUN}/report.html").headers["content-type"].startswith("text/html")
    assert client.head(f"{RUN}/report.html").status_code == 200


def test_the_start_leads_to_the_runs(client: TestClient) -> None:
    assert client.get("/").url.path == client.get("/runs").url.path == "/runs/"


@pytest.mark.parametrize(
    "path",
    ["/runs/none", "/runs/%2e%2e/secret.txt", "/runs/outside/secret.txt", "/runs/dangling", "/runs/dangling/",
     "/runs/loop", "/runs/loop/", "/runs/%00", "/runs/%00/", "/%00", f"/runs/{'a' * 300}", f"/runs/{'a' * 5000}",
     f"/runs/{'a/' * 3000}", "/runs/%ff", "/else", f"{RUN}/summary.json/x"],
)  # fmt: skip
def test_what_is_not_a_file_of_a_run_is_404(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "secret" not in answer.text


@pytest.mark.parametrize("path", ["/", "/runs/", RUN, f"{RUN}/report.html", f"{RUN}/summary.json", "/runs/none"])
def test_nothing_that_is_served_may_run_a_script(client: TestClient, path: str) -> None:
    headers = client.get(path, follow_redirects=False).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "script" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_finished_trainings_lead_to_their_reports(client: TestClient, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "a run"
    run.mkdir(parents=True)
    make_run(run, ("negative", "positive"), bare=True)
    (run / "report.html").write_text("<p>the report of it")
    (run / "data_docs").mkdir()
    (run / "data_docs" / "index.html").write_text("<p>docs")
    (one,) = client.get("/runs.json").json()
    assert one["verdict"]["selected"] in {model["name"] for model in one["models"]}
    assert set(one["links"]) == {"report", "data_docs", "mlflow", "files"}
    assert client.get(f"/{one['links']['report']}").text == "<p>the report of it"
    listing = client.get("/runs/").text
    assert '<a href="a%20run/report.html">Report</a>' in listing and "new champion" in listing
    assert "Folders" not in client.get(RUN).text
    (run / "summary.json").write_text("{")
    assert client.get("/runs.json").json() == [] and client.get("/runs/").status_code == 200
