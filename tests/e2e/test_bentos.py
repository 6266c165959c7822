"""Real Bento builds, in BentoML's own store."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import bentoml
import httpx
import pytest
from bentoml._internal.bento import BentoStore
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from polarity.bento import build
from polarity.bento import store as bento
from polarity.bento.probe import probe
from polarity.bento.server import served
from polarity.errors import ArtifactError
from polarity.inference.package import ModelManifest

pytestmark = pytest.mark.skipif("BASE_URL" in os.environ, reason="is about Bentos, not about the server under BASE_URL")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Bento store."""
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    return tmp_path / "bentoml" / "bentos"


@pytest.fixture
def stocked(store: Path, tag: str, bentoml_home: Path) -> Callable[[str], str]:
    """Put a candidate into the empty store without rebuilding it."""

    def put(version: str) -> str:
        candidate = bentoml_home / "bentos" / tag.replace(":", "/")
        folder = store / build.CANDIDATE / version
        shutil.copytree(candidate, folder)
        description = folder / "bento.yaml"
        description.write_text(
            description.read_text().replace(f"version: {tag.partition(':')[2]}", f"version: {version}")
        )
        return f"{build.CANDIDATE}:{version}"

    return put


def by_bentoml(tag: str, home: Path) -> bentoml.Bento:
    """Return the Bento that BentoML finds under a tag."""
    return bentoml.get(tag, _bento_store=BentoStore(home / "bentos"))


def latest_by_bentoml(home: Path) -> str:
    return str(by_bentoml("sentiment:latest", home).tag)


def test_bento_contains_serving_code_and_no_training_code(tag: str, bentoml_home: Path, packaged: Path) -> None:
    folder = bentoml_home / "bentos" / tag.replace(":", "/")
    assert ModelManifest.read(folder / "src" / "model") == ModelManifest.read(packaged)
    code = {path.relative_to(folder / "src").as_posix() for path in (folder / "src").rglob("*.py")}
    assert {"bentos/service.py", "polarity/inference/predictor.py", "polarity/families/logistic.py"} <= code
    rooms = {name.split("/")[1] for name in code if name.count("/") > 1}
    assert rooms == {"config", "families", "inference", "record", "serving", "text"}
    assert not [name for name in code if name.startswith(("flows", "ops", "tests"))]
    requirements = (folder / "env" / "python" / "requirements.txt").read_text()
    assert "--hash=sha256:" in requirements and "index" not in requirements
    assert not [
        name for name in ("tensorflow", "prefect", "mlflow", "ktrain", "transformers") if f"\n{name}==" in requirements
    ]
    labels = by_bentoml(tag, bentoml_home).info.labels
    assert labels["purpose"] == "test" and labels["family"] == "logistic" and labels["data_digest"] == "d" * 64


def test_bento_serves_its_own_code_without_training_frameworks(tag: str, bentoml_home: Path) -> None:
    source = bentoml_home / "bentos" / tag.replace(":", "/") / "src"
    program = (
        "import json, sys; sys.path.insert(0, '.')\n"
        "import bentos.service as service\n"
        "instance = service.Sentiment.inner()\n"
        "print(json.dumps([service.__file__, sys.modules['polarity'].__file__, sorted(sys.modules)]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=source, capture_output=True, text=True, check=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )  # fmt: skip
    service, polarity, modules = json.loads(done.stdout.splitlines()[-1])
    assert Path(service).is_relative_to(source) and Path(polarity).is_relative_to(source)
    heavy = {"tensorflow", "tf_keras", "keras", "ktrain", "transformers", "prefect", "mlflow", "pandas", "sklearn"}
    heavy |= {"scipy", "matplotlib", "great_expectations", "torch", "pyarrow", "gensim"}
    assert not heavy & set(modules)
    loaded = {name for name in modules if name.startswith("polarity.")}
    files = {path.relative_to(source).as_posix().removesuffix(".py").replace("/", ".") for path in source.rglob("*.py")}
    assert loaded <= files | {name.removesuffix(".__init__") for name in files}


def test_same_model_is_built_once_and_a_different_one_separately(
    tag: str, packaged: Path, train: Callable[[Path, int], Path], tmp_path: Path
) -> None:
    before = bento.tags(build.CANDIDATE)
    assert build.build(packaged) == tag
    assert bento.tags(build.CANDIDATE) == before
    other = build.build(train(tmp_path / "other", 2))
    assert other != tag
    with pytest.raises(ArtifactError, match="already exists with a different model"):
        build.build(packaged, version=other.partition(":")[2])
    bento.delete(other)


def test_incomplete_bento_is_rebuilt(tag: str, packaged: Path, bentoml_home: Path) -> None:
    folder = bentoml_home / "bentos" / tag.replace(":", "/")
    next((folder / "src" / "model").glob("*.npz")).unlink()
    (folder / "bento.yaml").unlink()
    assert not bento.exists(tag)
    assert build.build(packaged, labels={"purpose": "test"}) == tag
    assert bento.exists(tag)


def test_altered_package_is_not_built(packaged: Path, tmp_path: Path, store: Path) -> None:
    shutil.copytree(packaged, tmp_path / "altered")
    with next((tmp_path / "altered").glob("*.npz")).open("ab") as file:
        file.write(b"x")
    with pytest.raises(ArtifactError, match="altered"):
        build.build(tmp_path / "altered")


def test_sources_without_a_model_do_not_build(tmp_path: Path) -> None:
    """`bentoml build` without a model reports what is missing, and leaves nothing behind."""
    for source in build.sources():
        target = tmp_path / "context" / source.relative_to(build.BENTOFILE.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    done = subprocess.run(
        [sys.executable, "-m", "bentoml", "build"],
        cwd=tmp_path / "context",
        env={**os.environ, "BENTOML_HOME": str(tmp_path / "bentoml")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode
    assert "holds no packaged model" in done.stdout + done.stderr
    assert not list((tmp_path / "bentoml" / "bentos").glob("*/*"))


def test_only_a_promoted_bento_is_latest(store: Path, stocked: Callable[[str], str]) -> None:
    first, second, rejected = stocked("first"), stocked("second"), stocked("rejected")
    assert bento.latest() is None
    assert bento.promote(first) == "sentiment:first" == bento.latest() == latest_by_bentoml(store.parent)
    assert bento.promote(second) == "sentiment:second" == bento.latest() == latest_by_bentoml(store.parent)
    assert bento.exists(rejected) and bento.tags() == ["sentiment:second", "sentiment:first"]
    # a rollback; the candidate may have been deleted
    bento.delete(first)
    assert bento.promote(first) == "sentiment:first" == bento.latest() == latest_by_bentoml(store.parent)
    # on deletion BentoML points `latest` at the newest Bento, which is still the champion
    bento.promote(second)
    bento.delete("sentiment:first")
    assert bento.latest() == "sentiment:second" == latest_by_bentoml(store.parent)
    # also if the pointer is lost
    (store / "sentiment" / "latest").unlink()
    assert latest_by_bentoml(store.parent) == "sentiment:second"


def test_promotion_can_be_repeated_after_a_kill(store: Path, stocked: Callable[[str], str]) -> None:
    candidate = stocked("one")
    assert bento.promote(candidate) == bento.promote(candidate) == bento.latest()
    # killed before the description of the copy, or in the middle of it
    shutil.rmtree(store / "sentiment")
    (store / "sentiment" / "one" / "src").mkdir(parents=True)
    assert bento.latest() is None and bento.tags() == []
    assert bento.promote(candidate) == "sentiment:one" == bento.latest()
    # killed before `latest` moved
    (store / "sentiment" / "latest").write_text("gone")
    assert bento.promote(candidate) == "sentiment:one" == latest_by_bentoml(store.parent)


def test_champion_is_served_by_name(store: Path, stocked: Callable[[str], str]) -> None:
    bento.promote(stocked("one"))
    bento.promote(stocked("two"))
    bento.promote("sentiment-candidate:one")
    stocked("three")
    with served("sentiment:latest", environment={"BENTOML_HOME": str(store.parent)}) as server:
        assert httpx.get(server.url, trust_env=False).json()["model"]["bento"] == "sentiment:one"


def test_missing_bento_cannot_be_promoted(store: Path, stocked: Callable[[str], str]) -> None:
    bento.promote(stocked("one"))
    with pytest.raises(ArtifactError, match="sentiment-candidate:nowhere"):
        bento.promote("sentiment-candidate:nowhere")
    assert bento.latest() == "sentiment:one"


def test_promoted_bento_is_the_candidate_under_a_different_name(store: Path, stocked: Callable[[str], str]) -> None:
    candidate = stocked("one")
    champion = bento.promote(candidate)
    assert ModelManifest.read(bento.model_folder(champion)) == ModelManifest.read(bento.model_folder(candidate))
    before, after = (store / tag.replace(":", "/") for tag in (candidate, champion))
    files = {path.relative_to(before) for path in before.rglob("*") if path.is_file()}
    assert files == {path.relative_to(after) for path in after.rglob("*") if path.is_file()}
    assert all((before / f).read_bytes() == (after / f).read_bytes() for f in files if f.name != "bento.yaml")


def test_valid_bento_passes_the_probe(tag: str) -> None:
    report = probe(tag)
    assert report.tag == tag and report.requests > 30 and report.latency_ms > 0


def test_failed_start_is_reported_with_the_log(store: Path, stocked: Callable[[str], str]) -> None:
    candidate = stocked("broken")
    (bento.model_folder(candidate).parent / "polarity" / "inference" / "predictor.py").write_text(
        "raise OSError('no disk')"
    )
    with pytest.raises(ArtifactError, match="no disk"):
        probe(candidate)


def test_bento_with_wrong_responses_fails_the_probe(store: Path, stocked: Callable[[str], str]) -> None:
    candidate = stocked("rude")
    rules = bento.model_folder(candidate).parent / "polarity" / "serving" / "rules.py"
    rules.write_text(rules.read_text() + "\ndef refuse(text: object) -> Refusal | None:\n    return None\n")
    with pytest.raises(ArtifactError, match="POST"):
        probe(candidate)


def test_server_ends_with_its_parent(tag: str, bentoml_home: Path, tmp_path: Path) -> None:
    program = (
        "import os, sys, time\n"
        "from polarity.bento.server import served\n"
        "with served(sys.argv[1]) as server:\n"
        "    print(server.process.pid, server.url, flush=True)\n"
        "    time.sleep(600)\n"
    )
    folder = bentoml_home / "bentos" / tag.replace(":", "/")
    parent = subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline().split()[0])
    parent.kill()
    parent.wait()
    for _ in range(600):
        if not alive(pid):
            return
        time.sleep(0.05)
    raise AssertionError(f"The server, process {pid}, outlived its parent.")


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_service_without_a_model_reports_it() -> None:
    with pytest.raises(ArtifactError, match="holds no packaged model"), served("bentos.service:Sentiment"):
        raise AssertionError("unreachable")


def test_a_signed_bento_starts_with_its_key(
    stocked: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    key = tmp_path / "key.pem"
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    monkeypatch.setenv("POLARITY_SIGNING_KEY", str(key))
    promoted = bento.bento_folder(bento.promote(stocked("signed")))
    with served(promoted, environment={"POLARITY_VERIFY_KEY": public}) as server:
        assert httpx.get(f"{server.url}/model", trust_env=False).status_code == 200
