from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from filelock import FileLock

from polarity.pipeline.fingerprint import Fingerprint
from polarity.pipeline.store import Store
from polarity.registry.versions import Registry
from polarity.upkeep.retention import Removal, Retention, lineage, prune, reclaimable_bytes, removals

NOW = datetime(2030, 6, 1, tzinfo=UTC)
Old = Callable[..., list[str]]
KEEP_ALL = {"keep_runs": 99, "keep_days": 9999, "store_days": 9999, "store_gb": 99}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A registry without versions."""
    return Registry(f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db")


@pytest.fixture
def old(home: Path, store: Store, registry: Registry) -> Old:
    """Targets that a policy removes which keeps everything except as given."""

    def names(**retention: float) -> list[str]:
        policy = Retention.model_validate({**KEEP_ALL, **retention})
        return named(removals(registry, store, home / "runs", policy, NOW))

    return names


@pytest.fixture
def store(home: Path) -> Store:
    return Store(home / "store")


def result(store: Store, step: str, made: str, *, days: float = 0, inputs: dict[str, str] | None = None) -> str:
    """Store a result with the output `made`, last used `days` ago, and return its key."""
    fingerprint = Fingerprint(step, {f"input:{name}": digest for name, digest in (inputs or {}).items()} | {"p": made})
    record = store.run(fingerprint, lambda folder: (folder / "manifest.json").write_text(json.dumps({"digest": made})))
    used = (NOW - timedelta(days=days)).timestamp()
    os.utime(record.folder.with_suffix(".json"), (used, used))
    return fingerprint.key


def run(home: Path, name: str, *, days: float, trained: bool = True) -> None:
    folder = home / "runs" / name
    folder.mkdir(parents=True)
    (folder / ("config.json" if trained else "evaluation.json")).write_text("{}")
    used = (NOW - timedelta(days=days)).timestamp()
    for path in (*folder.iterdir(), folder):
        os.utime(path, (used, used))


def named(found: list[Removal]) -> list[str]:
    return [removal.target for removal in found]


def test_runs_are_removed_by_age_except_the_newest_of_their_kind(home: Path, store: Store, old: Old) -> None:
    for days in (1, 10, 40, 50, 60):
        run(home, f"train-{days}", days=days)
    run(home, "evaluate-70", days=70, trained=False)
    assert old(keep_days=30, keep_runs=3) == ["run train-50", "run train-60"]
    assert old(keep_days=30, keep_runs=0) == [
        "run evaluate-70", "run train-40", "run train-50", "run train-60",
    ]  # fmt: skip
    assert old(keep_days=0, keep_runs=5) == []


def test_what_was_used_within_the_hour_may_be_in_use(home: Path, store: Store, old: Old) -> None:
    run(home, "now", days=0.02)
    result(store, "fit", "now", days=0.02)
    assert old(keep_runs=0, keep_days=0, store_days=0, store_gb=0) == []


def test_results_are_removed_by_age_and_least_recently_used_first_by_size(home: Path, store: Store, old: Old) -> None:
    keys = [result(store, "fit", f"fit {days}", days=days) for days in (40, 20, 10)]
    assert old(store_days=30) == [f"result fit/{keys[0]}"]
    each_gb = len(json.dumps({"digest": "fit 40"})) / 1e9
    assert old(store_gb=1.5 * each_gb) == [f"result fit/{keys[0]}", f"result fit/{keys[1]}"]


def test_recalling_a_result_counts_as_a_use(home: Path, store: Store) -> None:
    result(store, "fit", "old", days=40)
    (before,) = store.results()
    assert store.recall(Fingerprint("fit", dict(before.parts))) is not None
    (after,) = store.results()
    assert after.last_used != before.last_used == NOW - timedelta(days=40)


def test_a_locked_result_is_kept(home: Path, store: Store, registry: Registry) -> None:
    key = result(store, "fit", "held", days=40)
    policy = Retention.model_validate({**KEEP_ALL, "store_days": 30})
    with FileLock(home / "store" / "fit" / f"{key}.lock"):
        assert prune(registry, store, home / "runs", policy, NOW).removals == ()
        assert len(store.results()) == 1
    removed = prune(registry, store, home / "runs", policy, NOW)
    assert named(list(removed.removals)) == [f"result fit/{key}"]
    assert removed.freed_bytes == len(json.dumps({"digest": "held"}))
    assert list((home / "store" / "fit").iterdir()) == []


def test_leftovers_of_a_kill_are_removed_unless_locked(home: Path, store: Store, old: Old) -> None:
    (home / "store" / "fit" / ".abc.draft").mkdir(parents=True)
    (home / "store" / "fit" / "def").mkdir()
    (home / "store" / "fit" / "ghi.lock").touch()
    with FileLock(home / "store" / "fit" / "def.lock"):
        assert old() == ["leftover fit/.abc.draft", "leftover fit/ghi.lock"]


def test_checkpoints_of_an_interrupted_fit_are_kept_for_some_days(home: Path, store: Store, old: Old) -> None:
    for key, days in (("abc", 2), ("def", 8), ("ghi", 8)):
        folder = home / "store" / "fit" / f"{key}.checkpoints"
        folder.mkdir(parents=True)
        (folder / "0000000010.npz").touch()
        for path in (folder / "0000000010.npz", folder):
            os.utime(path, ((NOW - timedelta(days=days)).timestamp(),) * 2)

    def keys(**retention: float) -> list[str]:
        return [name.removeprefix("checkpoints of fit/") for name in old(**retention) if name.startswith("checkpoints")]

    with FileLock(home / "store" / "fit" / "ghi.lock"):
        assert keys() == ["def"], "the others are young, or in use"
    assert keys(checkpoint_days=1) == ["abc", "def", "ghi"]
    (home / "store" / "fit" / "abc.json").write_text("{}")
    assert keys() == ["abc", "def", "ghi"], "the fit of the first is stored"


def test_removed_checkpoints_are_gone(home: Path, store: Store, registry: Registry) -> None:
    folder = home / "store" / "fit" / "def.checkpoints"
    folder.mkdir(parents=True)
    policy = Retention.model_validate(KEEP_ALL)
    done = prune(registry, store, home / "runs", policy, datetime.now(UTC) + timedelta(days=8))
    assert named(list(done.removals))[0] == "checkpoints of fit/def"
    assert not folder.exists()


def test_the_lineage_of_a_fit_includes_its_splits_and_their_snapshot(store: Store) -> None:
    snapshot = result(store, "ingest", "snapshot")
    splits = result(store, "prepare", "train", inputs={"accepted": "snapshot"})
    fit = result(store, "fit-logistic", "model", inputs={"train": "train"})
    scores = result(store, "evaluate-logistic", "scores", inputs={"model": "model", "train": "train"})
    result(store, "fit-bilstm", "other", inputs={"train": "train"})
    result(store, "ingest", "other snapshot")
    found = {kept.folder.name for kept in lineage(store.results(), fit)}
    assert found == {snapshot, splits, fit, scores}
    assert lineage(store.results(), "no such fit") == []


def test_hard_links_from_outside_free_no_space(tmp_path: Path) -> None:
    for name in ("candidate", "champion"):
        (tmp_path / name).mkdir()
    weights = tmp_path / "candidate" / "weights"
    weights.write_bytes(bytes(1000))
    os.link(weights, tmp_path / "champion" / "weights")
    (tmp_path / "champion" / "card").write_bytes(bytes(10))
    assert reclaimable_bytes([tmp_path / "candidate"]) == 0
    assert reclaimable_bytes([tmp_path / "champion"]) == 10
    assert reclaimable_bytes([tmp_path / "candidate", tmp_path / "champion"]) == 1010
