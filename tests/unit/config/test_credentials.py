from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest

from polarity.config.credentials import redacted, without_credentials
from polarity.config.settings import Settings
from polarity.errors import PolarityError
from polarity.pipeline.fingerprint import Fingerprint
from polarity.pipeline.remote_store import RemoteStore
from polarity.record.alert_book import Address, Notice, Text
from polarity.record.options import RecordOptions
from polarity.record.store import opened_record
from polarity.registry.mlflow_client import connect
from polarity.registry.tracking import Tracker
from polarity.watch.channels import send, without_secrets

PASSWORDS = ["hunter2word", "hunter2/word", "hunter2@word", "hunter2?word", "hunter2#word", "hunter2:word",
             "hunter2%2Fword", "hunter2%word"]  # fmt: skip


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://user:hunter2@host:5432/db?password=hunter2#x", "postgresql://host:5432/db"),
        ("https://hunter2@host/path", "https://host/path"),
        ("http://host:5000/path", "http://host:5000/path"),
        ("s3://bucket/folder@v1", "s3://bucket/folder@v1"),
        ("sqlite:////home/me@work/x.db?timeout=1", "sqlite:////home/me@work/x.db"),
        ("/home/me@work/store", "/home/me@work/store"),
    ],
)
def test_a_url_is_shown_without_what_is_secret(url: str, shown: str) -> None:
    assert without_credentials(url) == shown


def test_ordinary_words_of_a_message_stay() -> None:
    url = "https://user:port@host/path?token=hunter2"
    assert redacted("the report on port 9 of https://user:port@host/path?token=hunter2: hunter2", url) == (
        "the report on *** 9 of https://host/path: ***"
    )


@pytest.mark.parametrize("password", PASSWORDS)
def test_no_message_about_a_database_or_store_holds_its_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, password: str
) -> None:
    caplog.set_level(logging.WARNING)
    address = f"user:{password}@127.0.0.1:9/db"
    spool = str(tmp_path / "spool.db")

    def open_record() -> None:
        with opened_record(RecordOptions(prediction_log=f"postgresql://{address}", log_spool=spool)):
            pass

    for use in (
        lambda: connect(f"postgresql+psycopg2://{address}"),
        lambda: connect(f"http://{address}"),
        lambda: connect(f"mysql://{address}"),
        open_record,
        lambda: RemoteStore(f"http://{address}", tmp_path / "cache").recall(Fingerprint("probe", {})),
        lambda: RemoteStore(f"carrier://{address}", tmp_path / "cache").results(),
    ):
        with pytest.raises(PolarityError) as refused:
            use()
        for text in (str(refused.value), caplog.text):
            assert "hunter2" not in text
            assert "word" not in text.replace("password", "")


def test_no_representation_holds_a_password() -> None:
    url = "postgresql://user:hunter2@host/db"
    shown = repr(Tracker(url, "1", "2", "3")) + repr(Settings(mlflow_uri=url, store=url))
    assert "hunter2" not in shown


def test_a_notice_that_is_refused_is_told_without_the_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    notice = Notice(
        "n", "a", "rule", "server", "warning", "firing", Address("team", "x"), Text("a subject", "a body"), 0.0, 0
    )
    with pytest.raises(PolarityError) as refused:
        send(notice, f"json://user:hunter2@127.0.0.1:{port}/hook?+token=hunter2")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "secrets", "shown"),
    [
        (
            "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general",
            ["T1JJ3T3L2", "A1BRTD4JD", "TIiajkdnlazkcOXrIdevi7FQ"],
            [],
        ),
        ("tgram://123456789:abcdefg_hijklmnop/lead2gold/", ["123456789", "abcdefg_hijklmnop"], []),
        ("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js", ["4174216298", "JHMHI8qBe7bk2ZwO5U711o3dV_js"], []),
        ("pover://userkey@apptoken", ["userkey", "apptoken"], []),
        ("ntfy://tk_secret123@127.0.0.1:9/topic", ["tk_secret123", "topic"], ["127.0.0.1"]),
        ("json://user:hunter2@127.0.0.1:9/services/T%30SECRET", ["hunter2", "T%30SECRET", "T0SECRET"], ["127.0.0.1"]),
        ("tgram://no-such-token", ["no-such-token"], []),
    ],
)
def test_tokens_of_a_channel_are_hidden_wherever_they_stand(url: str, secrets: list[str], shown: list[str]) -> None:
    places = "/".join([*shown, *secrets])
    message = without_secrets(f"Could not send to https://{places}: {url} ({', '.join(secrets)})", url)
    assert not [secret for secret in secrets if secret in message]
    assert message.startswith("Could not send to https://") and all(place in message for place in shown)


def test_a_channel_that_is_not_understood_is_told_without_its_token(caplog: pytest.LogCaptureFixture) -> None:
    notice = Notice("n", "a", "rule", "server", "warning", "firing", Address("t", "x"), Text("a", "b"), 0.0, 0)
    with pytest.raises(PolarityError) as refused:
        send(notice, "tgram://no-such-token")
    assert "no-such-token" not in str(refused.value) + caplog.text
