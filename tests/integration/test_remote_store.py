"""The store behind a URL: a real S3-compatible server on loopback, and fsspec's own `file://`."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from s3fs import S3FileSystem

from flows.train import train
from polarity.config.settings import settings
from polarity.errors import ConfigurationError, ServiceUnavailable
from polarity.pipeline.config import TrainConfig
from polarity.pipeline.fingerprint import Fingerprint
from polarity.pipeline.remote_store import RemoteStore, open_store
from polarity.registry.versions import Registry
from polarity.upkeep.retention import Retention, prune
from tests.integration.s3 import BUCKET, S3

RESULT = Fingerprint("probe", {"parameter:value": "a"})


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    server = S3(monkeypatch)
    yield server
    server.stop()


@pytest.fixture(params=["s3", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return f"file://{tmp_path}/shared/store"
    request.getfixturevalue("s3")
    return f"s3://{BUCKET}/store"


def write(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "result.txt").write_text("done")
    (folder / "manifest.json").write_text(json.dumps({"digest": "d1"}))


def never(folder: Path) -> None:
    pytest.fail("made again")


def test_results_are_shared_between_machines(url: str, tmp_path: Path) -> None:
    one, other = RemoteStore(url, tmp_path / "one"), RemoteStore(url, tmp_path / "other")
    assert one.recall(RESULT) is None
    assert not one.run(RESULT, write).cached
    found = other.run(RESULT, never)
    assert found.cached
    assert found.folder.is_relative_to(tmp_path / "other")
    assert (found.folder / "sub" / "result.txt").read_text() == "done"
    (result,) = RemoteStore(url, tmp_path / "third").results()
    assert result.outputs > {"d1"}
    assert result.size_bytes == 4 + len('{"digest": "d1"}')


def test_altered_local_copy_is_refetched_and_altered_remote_is_recomputed(url: str, tmp_path: Path) -> None:
    one, other = RemoteStore(url, tmp_path / "one"), RemoteStore(url, tmp_path / "other")
    folder = one.run(RESULT, write).folder
    (folder / "sub" / "result.txt").write_text("altered")
    assert one.run(RESULT, never).cached
    assert (folder / "sub" / "result.txt").read_text() == "done"

    files = one._files
    (there,) = [name for name in files.find(one._root) if name.endswith("result.txt")]
    files.pipe_file(there, b"altered")
    assert other.recall(RESULT) is None
    assert not other.run(RESULT, write).cached
    assert RemoteStore(url, tmp_path / "third").run(RESULT, never).cached


def test_files_without_a_record_are_ignored(url: str, tmp_path: Path) -> None:
    store = RemoteStore(url, tmp_path / "one")
    store.run(RESULT, write)
    store._files.rm(f"{store._root}/probe/{RESULT.key}.json")
    assert RemoteStore(url, tmp_path / "other").recall(RESULT) is None
    assert RemoteStore(url, tmp_path / "other").results() == []


def test_removed_result_is_gone_everywhere(url: str, tmp_path: Path) -> None:
    store = RemoteStore(url, tmp_path / "one")
    store.run(RESULT, write)
    store.forget(RESULT)
    assert store._files.find(store._root) == []
    assert store.recall(RESULT) is None
    assert not store.run(RESULT, write).cached


DIGEST = hashlib.sha256(b"planted").hexdigest()


def plant(store: RemoteStore, names: list[str], **changes: object) -> None:
    """Put a record and its files into the remote store as somebody who can write there would."""
    record = {"step": "probe", "parts": dict(RESULT.parts), "files": dict.fromkeys(names, DIGEST),
              "bytes": 7 * len(names), "data": []}  # fmt: skip
    content = store._content_path(RESULT, record["files"])
    for name in names:
        with suppress(OSError, ClientError, ValueError):  # a bucket takes names that a folder does not
            store._files.pipe_file(f"{content}/{name}", b"planted")
    store._files.pipe_file(store._path(RESULT, ".json"), json.dumps(record | changes).encode())


@pytest.mark.parametrize("name", ["../../../escaped", "{home}/escaped", "sub/../../escaped"])
def test_a_record_cannot_name_a_file_outside_its_folder(url: str, tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    store = RemoteStore(url, home / "cache")
    plant(store, [name.format(home=home)])
    assert store.results() == []
    assert store.recall(RESULT) is None
    assert [path for path in home.rglob("*") if "escaped" in path.name] == []
    assert not store.run(RESULT, write).cached, "the result is made again"
    assert RemoteStore(url, tmp_path / "other").run(RESULT, never).cached


@pytest.mark.parametrize(
    "changes",
    [{"step": "../../x"}, {"step": "other"}, {"parts": None}, {"bytes": "7"}, {"bytes": 6}, {"data": "x"},
     {"files": ["a"]}, {"files": {"a": "d1"}}, {"files": {"a": 1}}, {"files": {"a": DIGEST, "a/b": DIGEST}},
     *({"files": {name: DIGEST}} for name in ("", "./a", "a/", "a//b", "a/../b", "/a", "..\\a", "a\0", "a" * 300))],
)  # fmt: skip
def test_a_record_that_is_wrong_is_ignored(tmp_path: Path, changes: dict[str, object]) -> None:
    store = RemoteStore(f"file://{tmp_path}/shared", tmp_path / "cache")
    plant(store, ["a"])
    assert store.recall(RESULT) is not None, "planted as it should be"
    store.forget(RESULT)
    plant(store, ["a"], **changes)
    assert store.recall(RESULT) is None
    assert all(result.step == "probe" for result in store.results())
    assert not store.run(RESULT, write).cached
    assert RemoteStore(store.url, tmp_path / "other").run(RESULT, never).cached, "the wrong record was replaced"


def test_more_than_was_recorded_is_not_downloaded(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RemoteStore(url, tmp_path / "one")
    store.run(RESULT, write)
    (there,) = [name for name in store._files.find(store._root) if name.endswith("result.txt")]
    store._files.pipe_file(there, b"x" * 1_000_000)
    other = RemoteStore(url, tmp_path / "other")
    monkeypatch.setattr(other._files, "get", lambda *_, **__: pytest.fail("downloaded"))
    assert other.recall(RESULT) is None


def test_a_link_in_a_shared_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("planted")
    store = RemoteStore(f"file://{tmp_path}/shared", tmp_path / "cache")
    plant(store, ["a"])
    (there,) = (tmp_path / "shared").rglob("a")
    there.unlink()
    there.symlink_to(tmp_path / "secret")
    assert store.recall(RESULT) is None


AT_ONCE = """
import sys, time
from pathlib import Path
from polarity.pipeline.fingerprint import Fingerprint
from polarity.pipeline.remote_store import RemoteStore

def slowly(folder):
    time.sleep(0.5)
    (folder / "who.txt").write_text(sys.argv[2])

RemoteStore(sys.argv[1], Path(sys.argv[2])).run(Fingerprint("probe", {"parameter:value": "a"}), slowly)
"""


def test_concurrent_machines_leave_one_complete_result(url: str, tmp_path: Path) -> None:
    caches = [str(tmp_path / name) for name in ("one", "other")]
    both = [subprocess.Popen([sys.executable, "-c", AT_ONCE, url, cache]) for cache in caches]
    assert [process.wait(120) for process in both] == [0, 0]
    found = RemoteStore(url, tmp_path / "third").run(RESULT, never)
    assert (found.folder / "who.txt").read_text() in caches
    assert len(RemoteStore(url, tmp_path / "fourth").results()) == 1


@pytest.mark.soak
def test_unreachable_server_is_reported_and_upload_is_retried_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3: S3
) -> None:
    url = f"s3://{BUCKET}/store"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    S3FileSystem.clear_instance_cache()
    away = RemoteStore(url, tmp_path / "one")
    with pytest.raises(ServiceUnavailable, match=r"The store s3://tweets/store cannot be reached .*127\.0\.0\.1:9"):
        away.recall(RESULT)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.address)
    S3FileSystem.clear_instance_cache()
    store = RemoteStore(url, tmp_path / "one")
    monkeypatch.setattr(store, "_publish", away._publish)  # the server becomes unreachable while the step runs
    with pytest.raises(ServiceUnavailable):
        store.run(RESULT, write)
    assert s3.names() == []
    again = RemoteStore(url, tmp_path / "one")
    assert again.run(RESULT, never).cached, "what was made is not lost"
    assert len(s3.names()) == 3
    assert RemoteStore(url, tmp_path / "other").run(RESULT, never).cached


def test_invalid_location_is_reported(tmp_path: Path, s3: S3) -> None:
    with pytest.raises(ConfigurationError, match="The store s3://no-such-bucket/store does not exist"):
        RemoteStore("s3://no-such-bucket/store", tmp_path / "one").run(RESULT, write)
    with pytest.raises(ConfigurationError, match="fsspec cannot open"):
        RemoteStore("carrier-pigeon://loft", tmp_path / "one")
    with pytest.raises(ConfigurationError, match="needs a library that is not installed"):
        RemoteStore("gs://bucket/store", tmp_path / "one")


def test_pruning_frees_local_and_remote_space(home: Path, tmp_path: Path, s3: S3) -> None:
    url = f"s3://{BUCKET}/store"
    store = RemoteStore(url, tmp_path / "one")
    store.run(RESULT, write)
    other = RemoteStore(url, tmp_path / "other")  # has no copy
    policy, later = Retention(store_days=30), datetime.now(UTC) + timedelta(days=40)
    removed = prune(Registry.open(), other, home / "runs", policy, later)
    assert [removal.target for removal in removed.removals] == [f"result probe/{RESULT.key}"]
    assert removed.freed_bytes == 4 + len('{"digest": "d1"}')
    assert s3.names() == []


@pytest.mark.timeout(900)
@pytest.mark.soak
def test_flow_on_a_second_machine_reuses_all_fits(
    prefect_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3: S3
) -> None:
    monkeypatch.setenv("POLARITY_STORE", f"s3://{BUCKET}/results")
    config = {"profile": "demo", "models": ["logistic"], "data": {"rows": 600}, "logistic": {"char_ngrams": None}}
    cached = []
    for machine in ("one", "other"):
        monkeypatch.setenv("POLARITY_HOME", str(tmp_path / machine))
        monkeypatch.setenv("BENTOML_HOME", str(tmp_path / machine / "bentoml"))
        settings.cache_clear()
        summary = train(TrainConfig.model_validate(config))
        cached.append([model.cached for model in summary.models])
        assert isinstance(open_store(), RemoteStore)
        assert not (tmp_path / machine / "store").exists()
    settings.cache_clear()
    assert cached == [[False], [True]]
