"""The page in a browser, against a Bento that is really served, with a real record."""

from __future__ import annotations

import csv
import io
import itertools
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from polarity.bento.server import BentoServer, served
from polarity.data.corpus import generate_tweets
from polarity.record.alert_book import AlertBook
from polarity.record.options import RecordOptions
from polarity.record.store import RecordStore, opened_record
from polarity.watch.alerts import Alarms
from polarity.watch.production import Production
from polarity.watch.rules import AlertRules, Rule
from tests.e2e.page_server import CHROMIUM, INSTALLED, PageServer, page_server
from tests.e2e.recorded_week import record_week
from tests.integration.servers import until

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
axe_playwright = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium (Debian: apt-get install chromium)"),
    pytest.mark.skipif(not INSTALLED, reason="needs the page's packages (make test installs them)"),
    pytest.mark.timeout(300),
]
PATIENCE_MS = 40_000
KEY = "k-of-the-page"
SCREENS = ("ask", "watch", "errors", "label", "runs")
DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
# The rest are habits of Streamlit's own frame, such as landmarks, and not serious.
GRAVE = ("serious", "critical")


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "predictions.db"
    record_week(path)
    return path


@pytest.fixture(scope="module")
def options(record: Path) -> dict[str, str]:
    return {
        "POLARITY_PREDICTION_LOG": str(record),
        "POLARITY_LOG_TEXTS": "masked",
        "POLARITY_LOG_REVIEW_SHARE": "0.1",
        "POLARITY_API_KEY": KEY,
    }


@pytest.fixture(scope="module")
def service(tag: str, bentoml_home: Path, options: dict[str, str]) -> Iterator[BentoServer]:
    with served(bentoml_home / "bentos" / tag.replace(":", "/"), environment=options) as server:
        yield server


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[PageServer]:
    if given := os.environ.get("PAGE_URL"):  # such as a container
        yield PageServer(given, None, 0.0)
        return
    service, record = request.getfixturevalue("service"), request.getfixturevalue("record")
    with page_server(record.with_name("page.log"), service.url, POLARITY_API_KEY=KEY) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any, server: PageServer) -> Iterator[Callable[..., Any]]:
    """Open a screen in a browser context of its own; nothing but the page may be loaded."""
    contexts, addresses = [], set()

    def open_screen(screen: str = "ask", **context: Any) -> Any:
        context = {"viewport": DESKTOP, "locale": "en-GB", **context}
        contexts.append(browser.new_context(**context))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", lambda request: addresses.add(request.url.split("/")[2]))
        page.goto(f"{server.url}/{screen}" if screen != "ask" else server.url)
        page.locator("h1").wait_for()
        return page

    yield open_screen
    for context in contexts:
        context.close()
    assert addresses <= {server.url.split("/")[2]}, "something is loaded from elsewhere"


def settled(page: Any) -> None:
    """Wait until Streamlit has run its script and drawn everything."""
    page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for()
    page.locator('[data-testid="stSkeleton"]').first.wait_for(state="detached")


def test_one_text_is_answered_explained_and_corrected(opened: Callable[..., Any], record: Path) -> None:
    page = opened()
    page.get_by_label("Text of a tweet").fill("such a lovely day, not awful at all #page")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.get_by_text("What each word adds").wait_for()
    page.locator(".words .word").nth(2).wait_for()
    assert page.locator(".words .word").all_inner_texts()[2].startswith("lovely")
    assert page.locator(".shares tr").count() == 2
    wrong = page.get_by_role("button", name="Wrong, it is")
    true = wrong.inner_text().rpartition(" ")[2]
    wrong.click()
    page.get_by_text(f"The true label “{true}” is stored.").wait_for()
    with opened_record(RecordOptions.read({"POLARITY_PREDICTION_LOG": str(record)})) as store:
        (prediction,) = store.ids_by_text(["such a lovely day, not awful at all #page"]).popitem()[1]
        assert store.add_feedback(prediction, true, time.time()) == "same"
    page.get_by_label("Text of a tweet").fill("12345")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.get_by_text("The text must not be a number.").wait_for()


@pytest.mark.parametrize("rows", [3_000, pytest.param(100_000, marks=pytest.mark.soak)])
def test_a_file_is_classified_filtered_and_downloaded(opened: Callable[..., Any], tmp_path: Path, rows: int) -> None:
    tweets = generate_tweets(rows=2_000, labels=("negative", "positive"), seed=3).to_pylist()
    texts = [row["text"] for row in tweets if row["text"] and not row["text"].isdigit()]
    path = tmp_path / "tweets.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "written", "tweet"])
        for number, text in zip(range(rows), itertools.cycle(texts), strict=False):
            writer.writerow([number, f"2026-10-{1 + number % 28:02}", text])
    page = opened()

    def classify() -> None:
        page.get_by_role("radio", name="Several texts").click()
        page.locator('input[type="file"]').set_input_files(path)
        page.get_by_role("button", name=f"Classify {rows:,} texts").click()

    classify()
    if rows > 10_000:
        page.get_by_role("progressbar").wait_for()
        page.get_by_role("button", name="Stop").click()
        page.get_by_text(f"of {rows:,} texts were classified.").wait_for()
        classify()
        page.get_by_role("button", name="Stop").wait_for()
        page.get_by_role("button", name="Stop").wait_for(state="detached", timeout=120_000)
    page.get_by_text("Texts by day").wait_for()
    page.get_by_text("Words typical of positive texts").wait_for()
    settled(page)
    page.get_by_label("Containing").fill("coffee")
    page.get_by_label("Containing").press("Enter")
    matching = sum("coffee" in text.lower() for text, _ in zip(itertools.cycle(texts), range(rows), strict=False))
    page.get_by_text(f"{matching:,} of ").wait_for()
    settled(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download these as CSV").click()
    found = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text("utf-8-sig"))))
    assert len(found) == matching and all("coffee" in row["text"].lower() for row in found)
    assert {row["sentiment"] for row in found} == {"negative", "positive"}


def test_a_pasted_list_is_classified(opened: Callable[..., Any]) -> None:
    page = opened()
    page.get_by_role("radio", name="Several texts").click()
    page.get_by_label("Or paste a list").fill("such a good day\n\n12345\nso awful")
    page.get_by_label("Or paste a list").press("Control+Enter")
    page.get_by_role("button", name="Classify 3 texts").click()
    page.get_by_text("Texts that could not be classified: 1").wait_for()
    page.get_by_text("2 of 2 texts.").wait_for()


def evaluate(record: Path, *, firing: bool) -> None:
    """One look of the monitor, at a rule that fires or not; the recorded traffic ends an hour ago."""
    limit = 0.0 if firing else 1e9
    rule = Rule(name="too much to do", measure="requests", window=7_200, at_least=limit, minimum=0)
    options = RecordOptions.read({"POLARITY_PREDICTION_LOG": str(record)})
    with opened_record(options) as store:
        book = AlertBook(store.engines[0])
        alarms = Alarms(AlertRules(rules=(rule,)), local=book, shared=book, senders={})
        report = alarms.evaluate(Production(store, local=store, shipped=False, champion=lambda: None))
    assert (report.started if firing else report.ended) == ["too much to do"]


def test_figures_are_shown_and_an_alert_appears_and_goes(opened: Callable[..., Any], record: Path) -> None:
    page = opened("watch")
    page.get_by_text("No alert is firing.").wait_for()
    page.get_by_role("radio", name="Week").click()
    page.get_by_text("the share of positive answers rose").wait_for()
    for title in ("Answers", "Share of each sentiment", "How sure the model is", "Accuracy with its 95% interval"):
        page.get_by_role("heading", name=title, exact=True).wait_for()
    settled(page)
    assert page.get_by_test_id("stVegaLiteChart").count() == 7
    page.get_by_text("Show the numbers").first.click()
    page.get_by_test_id("stDataFrame").locator("visible=true").first.wait_for()
    evaluate(record, firing=True)
    page.get_by_text("too much to do").first.wait_for()  # by itself
    evaluate(record, firing=False)
    page.reload()
    page.get_by_text("No alert is firing.").wait_for()
    page.get_by_text("Alerts that are over: 1").wait_for()


def test_the_confusion_matrix_leads_to_its_tweets(opened: Callable[..., Any]) -> None:
    page = opened("errors")
    cell = page.get_by_role("button", name="truly negative, answered positive")
    count = int(cell.inner_text().split()[-5])
    cell.click()
    settled(page)
    table = page.get_by_test_id("stDataFrame").first.locator("canvas table")
    table.first.wait_for(state="attached")
    until(lambda: int(table.get_attribute("aria-rowcount") or 0) == count + 1, 40)
    for title in ("The most confident errors", "Words that errors have in common", "Kinds of texts"):
        page.get_by_role("heading", name=title).wait_for()


def test_twenty_tweets_are_labelled_by_keyboard_and_the_last_taken_back(
    opened: Callable[..., Any], record: Path
) -> None:
    page = opened("label")
    page.get_by_role("textbox", name="Your name").fill("Ann Onym")
    page.keyboard.press("Enter")
    page.get_by_text("You label as Ann Onym.").wait_for()
    settled(page)
    for number in range(20):
        page.get_by_text(f"{number} labelled by you").wait_for()
        page.keyboard.press("1" if number % 2 else "2")
    page.get_by_text("20 labelled by you").wait_for()
    last = page.get_by_test_id("stMain").locator(".st-key-tweet").inner_text()
    page.keyboard.press("z")
    page.get_by_text("19 labelled by you").wait_for()
    page.get_by_text(last, exact=True).wait_for(state="detached")
    page.keyboard.press("s")
    assert sum(labels_by_person(record)["Ann Onym"].values()) == 19


def labels_by_person(record: Path) -> dict[str, Counter[str]]:
    """How often each person labelled each answer, as the record has it."""
    found: dict[str, Counter[str]] = {}
    store = RecordStore(RecordOptions.read({"POLARITY_PREDICTION_LOG": str(record)}))
    with store.engines[0].connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT labeller, prediction_id FROM assignments WHERE turn = 1 AND label IS NOT NULL"
        )
        for labeller, prediction in rows:
            found.setdefault(labeller, Counter())[prediction] += 1
    store.close()
    return found


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        pytest.param(DESKTOP, "light", id="light desktop"),
        pytest.param(PHONE, "dark", id="dark phone"),
        pytest.param(PHONE, "light", id="light phone", marks=pytest.mark.soak),
        pytest.param(DESKTOP, "dark", id="dark desktop", marks=pytest.mark.soak),
    ],
)
def test_no_screen_scrolls_sideways_or_shuts_anybody_out(
    opened: Callable[..., Any], width: dict[str, int], scheme: str
) -> None:
    page = opened(viewport=width, color_scheme=scheme)
    problems = []
    for screen in SCREENS:
        page.goto(page.url.split("/", 3)[0] + f"//{page.url.split('/')[2]}/{screen if screen != 'ask' else ''}")
        page.locator("h1").wait_for()
        if screen == "ask":
            page.get_by_label("Text of a tweet").fill("such a lovely day, not awful at all")
            page.get_by_role("button", name="Ask", exact=True).click()
            page.get_by_text("Is this right?").wait_for()
        settled(page)
        wider = "e => e.scrollWidth > e.clientWidth + 1"
        assert not page.evaluate(f"({wider})(document.documentElement)"), screen
        assert not page.locator('[data-testid="stMain"]').evaluate(wider), screen
        found = axe_playwright.Axe().run(page, options={"resultTypes": ["violations"]})
        problems += [
            (screen, one["id"], one["impact"], node["html"][:200])
            for one in found.response["violations"]
            if one["impact"] in GRAVE
            for node in one["nodes"]
        ]
    assert not problems, "\n".join(map(str, problems))


def test_french_and_a_browser_that_asks_for_it(opened: Callable[..., Any]) -> None:
    page = opened(locale="fr-FR")
    page.get_by_role("heading", name="Quel ton a ce texte").wait_for()
    page.get_by_label("Texte d’un tweet").fill(" ")
    page.get_by_role("button", name="Analyser").last.click()
    page.get_by_text("Le texte ne peut pas être vide.").wait_for()
    page.get_by_role("link", name="Suivi").click()
    page.get_by_role("heading", name="Où en est-on").wait_for()


def label_for(pages: list[Any], seconds: float, least: int) -> list[list[str]]:
    """Label in several browsers by turns, for a while and until each has labelled some; return the texts of each."""
    seen: list[list[str]] = [[] for _ in pages]
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline or min(map(len, seen)) < least:
        for number, page in enumerate(pages):
            page.get_by_text(f"{len(seen[number])} labelled by you").wait_for()
            seen[number].append(page.locator(".st-key-tweet").inner_text())
            page.keyboard.press("1")
    for number, page in enumerate(pages):
        page.get_by_text(f"{len(seen[number])} labelled by you").wait_for()
    return seen


def check_two_people(opened: Callable[..., Any], record: Path, seconds: float, least: int) -> None:
    names = [f"person {number} of {seconds}" for number in (1, 2)]
    pages = [opened(f"label?labeller={name}") for name in names]
    for page in pages:
        settled(page)
    seen = label_for(pages, seconds, least)
    store = RecordStore(RecordOptions.read({"POLARITY_PREDICTION_LOG": str(record)}))
    with store.engines[0].connect() as connection:
        query = "SELECT labeller, prediction_id, turn FROM assignments WHERE label IS NOT NULL"
        rows = [tuple(row) for row in connection.exec_driver_sql(query) if row[0] in names]
        stored = {row[0] for row in connection.exec_driver_sql("SELECT prediction_id FROM feedback")}
    store.close()
    assert Counter(name for name, *_ in rows) == dict(zip(names, map(len, seen), strict=True)), "none is lost"
    first = [prediction for _, prediction, turn in rows if turn == 1]
    assert len(first) == len(set(first)), "no tweet twice"
    assert set(first) <= stored


def test_two_people_label_at_once_and_never_the_same_tweet(opened: Callable[..., Any], record: Path) -> None:
    check_two_people(opened, record, 0, least=8)


@pytest.mark.soak
def test_two_people_label_for_a_minute(opened: Callable[..., Any], record: Path) -> None:
    check_two_people(opened, record, 60, least=30)


@pytest.mark.soak
def test_the_page_is_soon_usable_and_adds_little_to_the_service(
    browser: Any, service: BentoServer, tmp_path: Path
) -> None:
    """Printed, with bounds that only something broken exceeds: `make soak` shares its machine."""
    started = time.monotonic()
    with page_server(tmp_path / "page.log", service.url, POLARITY_API_KEY=KEY) as server:
        page = browser.new_page(locale="en-GB")
        page.goto(server.url)
        page.get_by_label("Text of a tweet").wait_for()
        usable_s = time.monotonic() - started
        direct, shown = [], []
        with httpx.Client(base_url=service.url, headers={"X-API-Key": KEY}, trust_env=False) as client:
            for number in range(50):
                text = f"a lovely day number {number}"
                before = time.perf_counter()
                client.post("/predict", json={"text": text}).raise_for_status()
                client.post("/explain", json={"text": text}).raise_for_status()
                direct.append(time.perf_counter() - before)
                page.get_by_label("Text of a tweet").fill(f"{text} again")
                before = time.perf_counter()
                page.get_by_role("button", name="Ask", exact=True).click()
                page.locator(".words .word", has_text=str(number)).first.wait_for()
                shown.append(time.perf_counter() - before)
        page.close()
    added_s = sorted(shown)[25] - sorted(direct)[25]
    print(f"usable after {usable_s:.2f} s; median {1e3 * sorted(shown)[25]:.0f} ms, {1e3 * added_s:.0f} ms added")
    assert usable_s < 30 and added_s < 3


def test_a_killed_service_is_told_in_words_and_the_page_goes_on(
    opened: Callable[..., Any], service: BentoServer
) -> None:
    page = opened("label?labeller=Kim")
    settled(page)
    page.get_by_text("0 labelled by you").wait_for()
    text = page.locator(".st-key-tweet").inner_text()
    process = psutil.Process(service.process.pid)
    command, environment = process.cmdline(), process.environ()
    for one in (*process.children(recursive=True), process):
        one.kill()
    page.keyboard.press("1")
    page.get_by_text("The service does not answer").wait_for()
    settled(page)
    again = psutil.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        # What stood there before is dimmed, not gone, until Streamlit has drawn the error.
        page.get_by_text("The service does not answer").wait_for(state="detached")
        page.get_by_text("0 labelled by you").wait_for()
        settled(page)
        assert page.locator(".st-key-tweet").inner_text() == text, "nothing is lost, and nothing skipped"
        page.keyboard.press("1")
        page.get_by_text("1 labelled by you").wait_for()
    finally:
        again.terminate()
        again.wait(30)
