"""`make ui` in a browser, against the real services."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from polarity.bento.server import free_port
from polarity.data.corpus import generate_tweets
from polarity.families.logistic import LogisticConfig
from polarity.families.registry import family_of
from polarity.text.tweets import Tweets
from tests.e2e.page_server import CHROMIUM, INSTALLED, page_server
from tests.integration.mail import MailServer, mail_url, write
from tests.integration.servers import until
from tests.unit.evaluation.run_folder import make_run

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium (Debian: apt-get install chromium)"),
    pytest.mark.timeout(600),
]
PATIENCE_MS = 60_000
PASSWORD = "s3cret-of-the-store"


@dataclass(frozen=True)
class Ui:
    """The URLs of the services, and the environment that points to them."""

    prefect: str
    mlflow: str
    pages: str
    environment: dict[str, str]
    home: Path
    mail_port: int

    @property
    def record(self) -> Path:
        return self.home / "predictions.db"


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """Everything that `make ui` starts, on separate ports and with separate homes."""
    home = tmp_path_factory.mktemp("ui")
    *ports, mail_port = (free_port() for _ in range(4))
    prefect, mlflow, pages = (f"http://127.0.0.1:{port}" for port in ports)
    environment = {
        **os.environ,
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_UI_API_URL": f"{prefect}/api",
        "POLARITY_HOME": str(home),
        "BENTOML_HOME": str(home / "bentoml"),
        "POLARITY_UI_URL": pages,
        "POLARITY_MLFLOW_UI_URL": mlflow,
        "POLARITY_PREDICTION_LOG": str(home / "predictions.db"),
        "POLARITY_ALERTS_TEAM": mail_url(mail_port),
        "POLARITY_MLFLOW_URI": f"sqlite:///{home}/mlflow.db?timeout=20&cache={PASSWORD}",
    }
    with (home / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--port", prefect.rpartition(":")[2]],
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 120
        while not _answers(f"{prefect}/api/health"):
            assert server.poll() is None, (home / "server.log").read_text()
            assert time.monotonic() < deadline, "the Prefect server did not respond in time"
            time.sleep(0.5)
        environment["PREFECT_API_URL"] = f"{prefect}/api"
        subprocess.run([sys.executable, "-m", "ops.ui"], env=environment, check=True, timeout=400)
        yield Ui(prefect, mlflow, pages, environment, home, mail_port)
    finally:
        subprocess.run([sys.executable, "-m", "ops.ui", "stop"], env=environment, check=False, timeout=120)
        server.terminate()
        server.wait(30)
    assert not [p for p in psutil.process_iter() if str(home) in _home_of(p)], "something was left running"


@pytest.fixture(scope="module")
def page(ui: Ui) -> Iterator[sync_api.Page]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        page.set_default_timeout(PATIENCE_MS)
        yield page
        browser.close()


def test_deployments_are_listed(ui: Ui, page: sync_api.Page) -> None:
    page.goto(f"{ui.prefect}/deployments")
    for name in ("nightly", "on-drift", "on-demand", "each-minute"):
        page.get_by_text(name, exact=True).first.wait_for()


def test_run_form_shows_the_configuration(ui: Ui, page: sync_api.Page) -> None:
    page.goto(f"{ui.prefect}/deployments/deployment/{_deployment(ui, 'nightly')}/run")
    page.get_by_text("Models to train, from:").wait_for()
    page.get_by_text("Where the labelled tweets come from and how to read them.").wait_for()
    shown = page.inner_text("body")
    assert "Inverse strength of the L2 penalty." in shown
    assert "standard" in shown


def test_run_started_in_browser_finishes_and_shows_artifacts(ui: Ui, page: sync_api.Page) -> None:
    tweets = Tweets(["awful sad day", "great happy day"] * 40, np.arange(80) % 2, ("negative", "positive"))
    classifier = family_of("logistic").classifier(LogisticConfig(char_ngrams=None, min_df=1), name="logistic", seed=0)
    (ui.home / "model").mkdir()
    model = classifier.fit(tweets, tweets, lambda *_, **__: None).export(ui.home / "model").folder
    path = ui.home / "tweets.csv"
    rows = [f"{i},2009-04-{1 + i % 9:02d},{('great day #win', 'awful day #fail')[i % 2]}" for i in range(300)]
    path.write_text("\n".join(["id,date,text", *rows]) + "\n")
    deployment = _deployment(ui, "on-demand", flow="score")
    given = {"parameters": {"config": {"model": str(model), "data": {"path": str(path)}, "workers": 1}}}
    httpx.patch(f"{ui.prefect}/api/deployments/{deployment}", json=given).raise_for_status()

    page.goto(f"{ui.prefect}/deployments/deployment/{deployment}/run")
    page.get_by_text("Where the tweets to score come from").wait_for()
    _submit(page)
    run = _finished_run(ui, deployment)
    assert run["state"]["type"] == "COMPLETED", run["state"]["message"]

    page.goto(f"{ui.prefect}/runs/flow-run/{run['id']}")
    page.get_by_text("Artifacts", exact=True).first.click()
    for key in ("scores", "sentiments", "sentiment-by-day"):
        page.get_by_text(key, exact=False).first.wait_for()
    (artifact,) = httpx.post(
        f"{ui.prefect}/api/artifacts/filter", json={"artifacts": {"key": {"any_": ["scores"]}}}
    ).json()
    page.goto(f"{ui.prefect}/artifacts/artifact/{artifact['id']}")
    page.get_by_text("#win").first.wait_for()


def test_mlflow_and_run_pages_open(ui: Ui, page: sync_api.Page) -> None:
    page.goto(ui.mlflow)
    page.get_by_text("Experiments").first.wait_for()
    page.goto(f"{ui.pages}/")
    page.get_by_text("score-tweets-logistic").click()
    page.get_by_text("sentiment.png").click()
    assert page.url.endswith("/sentiment.png")
    for outside in ("..%2f..%2fserver.log", "%2e%2e/server.log", "none"):
        assert httpx.get(f"{ui.pages}/runs/{outside}").status_code == 404


@pytest.fixture
def trainings(ui: Ui, page: sync_api.Page) -> Iterator[sync_api.Page]:
    """The page's screen Trainings."""
    if not INSTALLED:
        pytest.skip("needs the page's packages (make test installs them)")
    addresses = {"PREFECT_API_URL": f"{ui.prefect}/api", "POLARITY_UI_URL": ui.pages}
    uploads = str(ui.home / "uploads")
    with page_server(ui.home / "page.log", "http://127.0.0.1:1", **addresses, POLARITY_UPLOADS=uploads) as server:
        page.goto(f"{server.url}/runs")
        page.get_by_role("heading", name="Train on my file").wait_for()
        yield page


def _train_on(page: sync_api.Page, ui: Ui, rows: int) -> None:
    """Upload generated tweets, and start a training with small models."""
    deployment = _deployment(ui, "on-demand", flow="train")
    config = {"profile": "demo", "models": ["logistic"], "logistic": {"char_ngrams": None}}
    address, parameters = f"{ui.prefect}/api/deployments/{deployment}", {"parameters": {"config": config}}
    # Under load the server's database may be locked.
    until(lambda: httpx.patch(address, json=parameters, timeout=30).is_success, 60)
    tweets = generate_tweets(rows=rows, labels=("negative", "positive"), seed=5).to_pandas()
    path = ui.home / "labelled.csv"
    tweets[["user", "label", "text"]].to_csv(path, index=False)
    page.locator('input[type="file"]').set_input_files(path)
    page.get_by_text(f"{rows:,} rows; labels: ").wait_for()
    page.get_by_role("button", name="Start the training").click()
    page.get_by_text("Training: ").wait_for()


@pytest.mark.soak
def test_the_page_shows_trainings_and_says_why_one_is_refused(ui: Ui, trainings: sync_api.Page) -> None:
    trainings.get_by_text("No training has finished yet").wait_for()
    _train_on(trainings, ui, rows=60)
    trainings.get_by_text("The training failed.").wait_for()
    assert "200" in trainings.get_by_text("The training failed.").inner_text()
    run = ui.home / "runs" / "shown"
    run.mkdir(parents=True)
    make_run(run, ("negative", "positive"), bare=True)
    (run / "report.html").write_text("<h1>The report of a run")
    try:
        trainings.reload()
        trainings.get_by_text("was chosen, and became the champion").wait_for()
        with trainings.context.expect_page() as report:
            trainings.get_by_role("link", name="Report").click()
        report.value.get_by_role("heading", name="The report of a run").wait_for()
        report.value.close()
    finally:
        shutil.rmtree(run)


@pytest.mark.soak
def test_a_training_is_started_on_a_file_and_its_report_opened(ui: Ui, trainings: sync_api.Page) -> None:
    _train_on(trainings, ui, rows=800)
    trainings.get_by_text("The training has finished.").wait_for(timeout=240_000)
    with trainings.context.expect_page() as report:
        trainings.get_by_role("link", name="Report").first.click()
    report.value.get_by_role("heading").first.wait_for()
    assert "labelled.csv" in report.value.inner_text("body")
    report.value.close()


@pytest.mark.soak
def test_the_printed_address_of_mlflow_leads_to_the_table_of_runs(ui: Ui, page: sync_api.Page) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "ops.ui"], env=ui.environment, check=True, timeout=400, capture_output=True, text=True
    )
    (address,) = re.findall(r"MLflow +(\S+)", found.stdout)
    page.goto(address)
    page.get_by_text("Run Name").first.wait_for()


def test_no_address_of_a_store_is_in_the_process_list(ui: Ui) -> None:
    ours = [process for process in psutil.process_iter() if str(ui.home) in _home_of(process)]
    commands = [process.cmdline() for process in ours]
    assert any("mlflow" in command and "server" in command for command in commands)
    assert [command for command in commands if PASSWORD in " ".join(command)] == []


@pytest.mark.soak
def test_second_start_leaves_running_services_alone(ui: Ui) -> None:
    started = {file.name: file.read_text() for file in (ui.home / ".state").glob("*.pid")}
    assert set(started) == {"worker.pid", "mlflow.pid", "pages.pid"}
    subprocess.run([sys.executable, "-m", "ops.ui"], env=ui.environment, check=True, timeout=400)
    assert {file.name: file.read_text() for file in (ui.home / ".state").glob("*.pid")} == started


def _submit(page: sync_api.Page) -> None:
    """Press the button until the form closes; it appears shortly before it handles clicks."""
    form, deadline = page.url, time.monotonic() + 60
    while page.url == form:
        assert time.monotonic() < deadline, "the form does not go"
        page.get_by_role("button", name="Submit").click()
        with suppress(sync_api.TimeoutError):
            page.wait_for_url(lambda url: url != form, timeout=5_000)


def _deployment(ui: Ui, name: str, *, flow: str = "train") -> str:
    found = httpx.get(f"{ui.prefect}/api/deployments/name/{flow}/{name}").raise_for_status().json()
    return str(found["id"])


def _finished_run(ui: Ui, deployment: str) -> dict[str, dict[str, str]]:
    deadline = time.monotonic() + 240
    wanted = {"flow_runs": {"deployment_id": {"any_": [deployment]}}}
    while True:
        runs = httpx.post(f"{ui.prefect}/api/flow_runs/filter", json=wanted).raise_for_status().json()
        if runs and runs[0]["state"]["type"] in ("COMPLETED", "FAILED", "CRASHED"):
            run: dict[str, dict[str, str]] = runs[0]
            return run
        assert time.monotonic() < deadline, f"no run finished: {runs and runs[0]['state']}"
        time.sleep(1)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.HTTPError:
        return False


def _home_of(process: psutil.Process) -> str:
    try:
        return str(process.environ().get("POLARITY_HOME", "")) if process.pid != os.getpid() else ""
    except psutil.Error:
        return ""


@pytest.mark.soak
def test_the_deployed_monitor_sends_within_a_minute_and_a_half(ui: Ui) -> None:
    mail_server = MailServer(ui.mail_port)
    try:
        write(ui.record, negative=3)
        until(lambda: mail_server.mails, 90, message="no mail within 90 s")
        assert mail_server.subjects == ["[Polarity] negatives: 3 negative answers within 5 min"]
        # No server records minutes here, so that an alert about its silence is sent, too.
        over = "[Polarity] resolved: negatives, after "
        until(lambda: any(subject.startswith(over) for subject in mail_server.subjects), 300 + 90)
        assert sum(" negatives" in subject for subject in mail_server.subjects) == 2
    finally:
        mail_server.stop()
