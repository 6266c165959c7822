"""Alerts as people get them: the real flow, a real SMTP server on loopback, a monitor that is killed while it sends."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from polarity.config.settings import PROJECT
from polarity.record.options import RecordOptions
from polarity.record.store import RecordStore
from polarity.upkeep.status import status
from tests.integration.mail import MailServer, write
from tests.integration.servers import until

pytestmark = pytest.mark.timeout(300)

RULES = """
channels: {team: ALERTS_TEST}
rules:
  - {name: negatives, description: Look at the tweets., measure: answers, label: negative, window: 5 min, at_least: 3}
  - {name: errors, measure: error_share, window: 5 min, at_least: 0.5, minimum: 10, severity: critical}
"""


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    server = MailServer()
    yield server
    server.stop()


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty record, which the environment names."""
    path = tmp_path / "log.db"
    monkeypatch.setenv("POLARITY_PREDICTION_LOG", str(path))
    return path


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "alerts.yaml"
    path.write_text(RULES)
    return path


class Monitor:
    """Runs `python -m flows.monitor` against the Prefect server of the tests."""

    def __init__(self, rules: Path, mail_server: MailServer, home: Path) -> None:
        self._command = [sys.executable, "-m", "flows.monitor", "--rules", str(rules)]
        self._environment = {**os.environ, "ALERTS_TEST": mail_server.url, "PYTHONPATH": str(PROJECT)}

    def start(self, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self._command, *options],
            cwd=PROJECT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *options: str, expect: int = 0) -> str:
        process = self.start(*options)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == expect, output
        return output


@pytest.fixture
def monitor(prefect_server: str, rules: Path, record: Path, mail_server: MailServer, home: Path) -> Monitor:
    return Monitor(rules, mail_server, home)


def test_three_negatives_are_one_mail_and_their_end_another(
    monitor: Monitor, record: Path, mail_server: MailServer, prefect_server: str
) -> None:
    write(record, negative=2, positive=5)
    assert "too little to tell" in monitor.run()
    assert mail_server.mails == []
    write(record, negative=1)
    monitor.run()
    monitor.run()
    (mail,) = mail_server.mails
    assert mail["Subject"] == "[Polarity] negatives: 3 negative answers within 5 min"
    assert mail["To"] == "team@example.org"
    text = mail.get_body(("plain",))
    assert text is not None
    lines = text.get_content().splitlines()
    assert lines[0] == "What: negatives (warning)"
    assert lines[1] == "How much: 3 negative answers within 5 min"
    assert lines[2] == "Limit: at least 3"
    assert lines[3].startswith("Since: 2")
    assert lines[4].startswith("Look at: python -m polarity status")
    assert "Look at the tweets." in lines
    assert dict(status())["alert"].startswith("negatives, warning, for")
    store = RecordStore(RecordOptions.read())
    store.forget_before(time.time())
    store.close()
    monitor.run()
    monitor.run()
    assert mail_server.subjects[1:] == [
        f"[Polarity] resolved: negatives, after {mail_server.subjects[1].split('after ')[1]}"
    ]
    assert len({mail["Message-ID"] for mail in mail_server.mails}) == 2
    assert all(mail.get_all("Message-ID") == [mail["Message-ID"]] for mail in mail_server.mails)

    def events() -> list[str]:
        wanted = {"filter": {"event": {"prefix": ["polarity.alert."]}}}
        found = httpx.post(f"{prefect_server}/events/filter", json=wanted).json()["events"]
        return [event["event"] for event in found if event["resource"]["prefect.resource.name"] == "negatives"]

    until(lambda: sorted(events()) == ["polarity.alert.firing", "polarity.alert.resolved"], 30)


def test_mail_is_sent_later_if_the_server_is_away(monitor: Monitor, record: Path, mail_server: MailServer) -> None:
    write(record, negative=3)
    mail_server.stop()
    output = monitor.run(expect=1)
    assert "1 notices were not accepted, the first by the channel 'team'" in output
    mail_server.start()
    time.sleep(3)
    monitor.run()
    assert mail_server.subjects == ["[Polarity] negatives: 3 negative answers within 5 min"]


@pytest.mark.soak
def test_a_monitor_killed_before_the_mail_is_accepted_sends_it_next_time(
    monitor: Monitor, record: Path, mail_server: MailServer
) -> None:
    write(record, negative=3)
    process = monitor.start()
    held = threading.Event()

    def kill() -> None:
        if not held.is_set():
            held.set()
            process.send_signal(signal.SIGKILL)
            raise ConnectionResetError("the client is gone")

    mail_server.before_acceptance = kill
    process.wait(120)
    assert held.is_set()
    assert mail_server.mails == []
    let_claims_expire(record)
    monitor.run()
    monitor.run()
    assert len(mail_server.mails) == 1


def test_a_monitor_killed_after_the_mail_was_accepted_sends_the_same_again(
    monitor: Monitor, record: Path, mail_server: MailServer
) -> None:
    write(record, negative=3)
    process = monitor.start()
    mail_server.after_acceptance = lambda: process.send_signal(signal.SIGKILL)
    process.wait(120)
    assert len(mail_server.mails) == 1
    mail_server.after_acceptance = lambda: None
    let_claims_expire(record)
    monitor.run()
    monitor.run()
    first, second = mail_server.mails
    assert first["Message-ID"] == second["Message-ID"], "readers show it once"


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kill_after_s", [0.5 + 0.6 * n for n in range(10)])
def test_killed_at_any_moment_it_sends_the_mail(
    monitor: Monitor, record: Path, mail_server: MailServer, kill_after_s: float
) -> None:
    write(record, negative=3)
    process = monitor.start()
    time.sleep(kill_after_s)
    process.kill()
    process.wait()
    let_claims_expire(record)
    monitor.run()
    assert mail_server.mails
    assert len({mail["Message-ID"] for mail in mail_server.mails}) == 1


def test_trial(monitor: Monitor, mail_server: MailServer) -> None:
    monitor.run("--test-alert", "errors")
    assert mail_server.subjects == ["[Polarity] trial: errors"]
    assert "no rule 'error'; there are negatives, errors" in monitor.run("--test-alert", "error", expect=2)


def test_an_address_that_is_none_is_named_without_its_password(monitor: Monitor) -> None:
    monitor._environment["ALERTS_TEST"] = "telegraph://secret@nowhere"
    output = monitor.run(expect=2)
    assert "ALERTS_TEST holds an address (scheme: telegraph)" in output
    assert "secret" not in output


def let_claims_expire(record: Path) -> None:
    """As if half a minute had passed: a killed process holds a notice no longer."""
    with sqlite3.connect(record) as connection:
        if connection.execute("SELECT name FROM sqlite_master WHERE name = 'notices'").fetchall():
            connection.execute("UPDATE notices SET claimed_until = 0 WHERE claimed_until > 0")
