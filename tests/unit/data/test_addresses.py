"""Tweets at an address: of an HTTP server and an S3-compatible one on loopback."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from polarity.config.sections import DataConfig, InputConfig
from polarity.data.addresses import Addressed, local_copy
from polarity.data.sources import LabelledTweets, read_tweets, source_files
from polarity.errors import ConfigurationError, DataRejected, ServiceUnavailable
from tests.integration.s3 import BUCKET, S3
from tests.integration.servers import static_site

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of an HTTP server, and the folder that it serves."""
    folder = tmp_path / "site"
    folder.mkdir()
    with static_site(folder) as port:
        yield f"http://127.0.0.1:{port}", folder


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    server = S3(monkeypatch)
    yield server
    server.stop()


def csv(*numbers: int) -> bytes:
    return b"text,label\n" + b"".join(b"tweet number %d,positive\n" % n for n in numbers)


def read(address: str) -> LabelledTweets:
    return read_tweets(DataConfig.model_validate({"path": address}), ("negative", "positive"))


def texts(address: str) -> list[str]:
    return [text.removeprefix("tweet number ") for text in read(address).table["text"].to_pylist()]


def downloads(caplog: pytest.LogCaptureFixture) -> int:
    count = sum("Downloading" in record.getMessage() for record in caplog.records)
    caplog.clear()
    return count


def test_a_file_of_a_web_server_is_read_and_copied_again_when_it_changes(
    site: tuple[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    address, folder = site
    (folder / "tweets 1.csv.gz").write_bytes(gzip.compress(csv(1, 2)))
    assert texts(f"{address}/tweets%201.csv.gz") == ["1", "2"]
    assert downloads(caplog) == 1
    assert texts(f"{address}/tweets%201.csv.gz") == ["1", "2"]
    assert downloads(caplog) == 0
    (folder / "tweets 1.csv.gz").write_bytes(gzip.compress(csv(1, 2, 3)))
    assert texts(f"{address}/tweets%201.csv.gz") == ["1", "2", "3"]
    assert downloads(caplog) == 1


def test_what_a_web_server_says_instead_of_a_file_is_told(site: tuple[str, Path]) -> None:
    address, folder = site
    (folder / "page.csv").write_text("<!doctype html><html><body>Log in</body></html>")
    with pytest.raises(DataRejected, match="HTML"):
        read(f"{address}/page.csv")
    with pytest.raises(ConfigurationError, match=rf"{address}/nothing.csv does not exist"):
        read(f"{address}/nothing.csv")
    with pytest.raises(ConfigurationError, match="fsspec cannot open odd://x"):
        read("odd://x")


def test_a_folder_of_a_bucket_is_read_as_a_local_one(s3: S3, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for name, content in {"a.csv": csv(1), "sub/b.csv": csv(2), "c.csv.part": b"text", ".d.csv": csv(9)}.items():
        s3.client.put_object(Bucket=BUCKET, Key=f"in/{name}", Body=content)
    tweets = read(f"s3://{BUCKET}/in").table
    assert tweets["file"].to_pylist() == ["a.csv", "sub/b.csv"]
    assert downloads(caplog) == 2
    s3.client.put_object(Bucket=BUCKET, Key="in/a.csv", Body=csv(3))
    s3.client.delete_object(Bucket=BUCKET, Key="in/sub/b.csv")
    assert texts(f"s3://{BUCKET}/in") == ["3"]
    assert downloads(caplog) == 1
    assert texts(f"s3://{BUCKET}/in/a.csv") == ["3"]


def test_a_file_that_keeps_changing_is_not_read(site: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    address, folder = site
    (folder / "a.csv").write_bytes(csv(1))
    fetch = Addressed.fetch

    def fetch_and_grow(self: Addressed, *args: object) -> str:
        digest = fetch(self, *args)  # type: ignore[arg-type]
        with (folder / "a.csv").open("ab") as file:
            file.write(b"more,positive\n")
        return digest

    monkeypatch.setattr(Addressed, "fetch", fetch_and_grow)
    with pytest.raises(ServiceUnavailable, match=r"a\.csv changed while it was read"):
        read(f"{address}/a.csv")
    monkeypatch.undo()
    assert len(texts(f"{address}/a.csv")) == 4


def test_an_address_with_a_password_is_refused() -> None:
    with pytest.raises(ValidationError, match="reads credentials from the environment") as refusal:
        DataConfig.model_validate({"path": "sftp://ann:secret@host/tweets.csv"})
    assert "secret@" not in str(refusal.value.errors()[0]["msg"])
    assert InputConfig.model_validate({"path": "s3://b/c"}).path == "s3://b/c"
    assert InputConfig.model_validate({"path": "b/c"}).path == Path("b/c")


def test_an_address_is_named_as_it_was_given(site: tuple[str, Path]) -> None:
    address, folder = site
    (folder / "a.csv").write_bytes(csv(1))
    files = source_files(DataConfig.model_validate({"path": f"{address}/a.csv?token=1"}))
    assert files.source == f"{address}/a.csv"
    assert not files.is_folder
    assert local_copy(f"{address}/a.csv?token=1") == files.path
