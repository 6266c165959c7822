"""Script in tweets and labels does not run in the pages of a run, whether they are served or opened as files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest
import uvicorn

from ops.pages import application
from polarity.config.sections import GateConfig
from polarity.data.acceptance import accept
from polarity.data.snapshot import write_snapshot
from polarity.evaluation.report import write_report
from tests.e2e.test_ui import CHROMIUM
from tests.unit.evaluation.run_folder import ATTACK, make_run

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium (Debian: apt-get install chromium)")

PAYLOADS = [
    ATTACK,
    '"><svg onload=alert(1)>',
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<a href=javascript:alert(1) autofocus onfocus=alert(1)>",
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with Data Docs and report, whose tweets and labels are attacks, and a page that is one."""
    home = tmp_path_factory.mktemp("hostile")
    run = home / "runs" / "run"
    labels = [("negative", "positive")[row % 2] for row in range(300)]
    texts = [f"tweet number {row} of a set" for row in range(300)]
    labels[:4] = PAYLOADS
    texts[4:8] = [attack + "x" * 1001 for attack in PAYLOADS]
    table = pa.table({"row": pa.array(range(1, 301), pa.int64()), "text": texts, "label": labels})
    snapshot = write_snapshot(table, home / "snapshot", source="hostile.csv", labels=("negative", "positive"))
    assert accept(snapshot, GateConfig(), run).quarantined == 8
    make_run(run, (PAYLOADS[0], "positive"), bare=False)
    write_report(run)
    (run / "raw.html").write_text(ATTACK)
    (run / "raw.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>')
    return home / "runs"


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def executed(browser: sync_api.Browser, url: str) -> list[str]:
    """What `alert` was called with by the page at `url`."""
    page, alerts = browser.new_page(), list[str]()
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    page.goto(url, wait_until="load")
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.close()
    return alerts


@contextmanager
def pages(runs: Path) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(application(runs), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the pages did not start"
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/runs"
    finally:
        server.should_exit = True
        thread.join(10)


def test_script_of_tweets_and_labels_is_not_executed(browser: sync_api.Browser, runs: Path) -> None:
    files = sorted(path.relative_to(runs).as_posix() for path in runs.rglob("*.html"))
    assert len(files) == 5, files
    ours = [file for file in files if not file.endswith("raw.html")]
    assert executed(browser, (runs / "run" / "raw.html").as_uri()), "the browser runs what is not stopped"
    for file in ours:
        assert executed(browser, (runs / file).as_uri()) == [], file
        assert "Content-Security-Policy" in (runs / file).read_text()
    with pages(runs) as address:
        for file in [*files, "run/raw.svg", "run/", ""]:
            assert executed(browser, f"{address}/{file}") == [], file


def test_values_are_shown_as_text(browser: sync_api.Browser, runs: Path) -> None:
    (validation,) = runs.rglob("validations/**/*.html")
    page = browser.new_page()
    page.goto(validation.as_uri())
    shown = page.inner_text("body")
    page.goto((runs / "run" / "report.html").as_uri())
    reported = page.inner_text("body")
    page.close()
    for payload in PAYLOADS:
        assert payload in shown
    assert PAYLOADS[0] in reported
    assert "&lt;" not in shown + reported, "escaped once"


def test_data_docs_lead_from_the_index_to_the_results_without_script(browser: sync_api.Browser, runs: Path) -> None:
    page = browser.new_page()
    page.goto((runs / "run" / "data_docs" / "index.html").as_uri())
    page.get_by_role("link", name="open").first.click()
    page.get_by_text("values must belong to this set").first.wait_for()
    page.close()
