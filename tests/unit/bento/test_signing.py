"""A Bento that was changed, or signed by somebody else, is not started, and the message names the file."""

from __future__ import annotations

import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from polarity.__main__ import main
from polarity.bento import bentoml_store, store
from polarity.bento.build import build
from polarity.bento.provenance import Provenance, write_provenance
from polarity.bento.server import served
from polarity.errors import ArtifactError, ConfigurationError, PolarityError
from polarity.inference.package import ModelManifest
from polarity.inference.signature import SIGNATURE, sign, verify

Keys = tuple[str, str]


def make_keys(curve: type[ec.EllipticCurve] = ec.SECP256R1) -> Keys:
    """A private and a public key, as PEM texts."""
    private = ec.generate_private_key(curve())
    return (
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    )


@pytest.fixture(scope="module")
def keys() -> Keys:
    return make_keys()


@pytest.fixture(scope="module")
def bento(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Iterator[Path]:
    """A Bento of an untrained model that was built and promoted with a signing key; its store is the present one."""
    model = tmp_path_factory.mktemp("model")
    (model / "weights.bin").write_bytes(b"12345678")
    ModelManifest.describe(
        model, ["weights.bin"], family="logistic", name="logistic", labels=("negative", "positive"),
        precision="float64", temperature=1.0, max_tokens=None, card={},
    ).write(model)  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(tmp_path_factory.mktemp("bentoml")))
        tag = build(model)
        assert not (store.bento_folder(tag) / SIGNATURE).exists()
        patch.setenv("POLARITY_SIGNING_KEY", keys[0])
        build(model)  # it is there already, and gets its signature
        verify(store.bento_folder(tag), keys[1])
        promoted = store.promote(tag)
        verify(store.bento_folder(promoted), keys[1])
        write_provenance(promoted, Provenance({"run_id": "a run"}, "d" * 64, "c" * 40))
        yield store.bento_folder(promoted)


def problem(folder: Path, key: str) -> str:
    """What `verify` says."""
    with pytest.raises(ArtifactError) as caught:
        verify(folder, key)
    return str(caught.value)


def test_a_promotion_leaves_a_signed_bento(bento: Path, keys: Keys) -> None:
    verify(bento, keys[1])
    verify(bento, keys[1].replace("\n", "\\n"))  # as in a file of variables


def test_a_changed_byte_in_any_file_is_named(bento: Path, keys: Keys) -> None:
    files = [path for path in bento.rglob("*") if path.is_file()]
    assert len(files) > 100
    for path in files:
        content, name = path.read_bytes(), path.relative_to(bento).as_posix()
        place = len(content) // 2
        changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :] if content else b" "
        path.unlink()  # it may be a hard link to another Bento's
        path.write_bytes(changed)
        try:
            if name == "env/docker/Dockerfile":  # `bentoml containerize` writes it anew
                verify(bento, keys[1])
            else:
                assert (SIGNATURE if name == SIGNATURE else f"changed: {name}") in problem(bento, keys[1])
        finally:
            path.write_bytes(content)
    verify(bento, keys[1])


def test_added_and_missing_files_and_links_are_named(bento: Path, keys: Keys) -> None:
    added = bento / "src" / "bentos" / "extra.py"
    added.write_text("")
    assert "(added: src/bentos/extra.py)" in problem(bento, keys[1])
    added.unlink()
    added.symlink_to(bento / "README.md")
    assert "src/bentos/extra.py' is a symbolic link" in problem(bento, keys[1])
    added.unlink()
    moved, path = bento.parent / "moved", bento / "src" / "polarity" / "errors.py"
    path.rename(moved)
    assert "(missing: src/polarity/errors.py)" in problem(bento, keys[1])
    moved.rename(path)
    (bento / SIGNATURE).rename(moved)
    assert "is not signed" in problem(bento, keys[1])
    moved.rename(bento / SIGNATURE)


def test_what_python_compiled_is_deleted_because_it_would_be_run_unseen(bento: Path, keys: Keys) -> None:
    cache = bento / "src" / "bentos" / "__pycache__"
    cache.mkdir()
    (cache / "door.cpython-311.pyc").write_bytes(b"anything")
    verify(bento, keys[1])
    assert not cache.exists()


def test_an_exported_bento_and_the_context_of_an_image_are_still_signed(
    bento: Path, keys: Keys, tmp_path: Path
) -> None:
    from bentoml._internal.container import construct_containerfile

    store.export_bento(f"sentiment:{bento.name}", tmp_path / "exported.bento")
    with tarfile.open(tmp_path / "exported.bento") as archive:
        archive.extractall(tmp_path / "exported", filter="data")
    verify(tmp_path / "exported", keys[1])
    found = bentoml_store.find(store.home(), f"sentiment:{bento.name}")
    assert found is not None
    for buildkit in (True, False):
        with construct_containerfile(found, enable_buildkit=buildkit) as (context, _):
            verify(Path(context), keys[1])


@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
def test_another_key_is_refused_and_said(bento: Path, keys: Keys, curve: type[ec.EllipticCurve]) -> None:
    other = make_keys(curve)
    assert f"{SIGNATURE}' was made with another key" in problem(bento, other[1])
    # neither does it help to claim the right one
    path = bento / SIGNATURE
    signed = path.read_bytes()
    hint = json.loads(signed)["verificationMaterial"]
    sign(bento, other[0], name="other")
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "verificationMaterial": hint}))
    assert "was changed, or not made with the key" in problem(bento, keys[1])
    path.write_bytes(signed)


@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
def test_the_format_is_that_of_openssf_model_signing(tmp_path: Path, curve: type[ec.EllipticCurve]) -> None:
    from model_signing import signing, verifying

    folder, (private, public) = tmp_path / "bento", make_keys(curve)
    (folder / "src").mkdir(parents=True)
    for name in ("bento.yaml", "src/a.py", "src-b"):
        (folder / name).write_text(name)
    (tmp_path / "key").write_text(private)
    (tmp_path / "key.pub").write_text(public)
    sign(folder, private, name="a bento")
    verifier = verifying.Config().use_elliptic_key_verifier(public_key=tmp_path / "key.pub")
    verifier.verify(folder, folder / SIGNATURE)
    (folder / SIGNATURE).unlink()
    signing.Config().use_elliptic_key_signer(private_key=tmp_path / "key").sign(folder, folder / SIGNATURE)
    verify(folder, str(tmp_path / "key.pub"))
    (folder / "src" / "a.py").write_text("b")
    assert "changed: src/a.py" in problem(folder, public)


def test_keys_that_are_none_are_refused_without_being_quoted(bento: Path, keys: Keys, tmp_path: Path) -> None:
    wrong = rsa.generate_private_key(65537, 2048)
    for private in (
        wrong.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        keys[1],
        "-----BEGIN PRIVATE KEY-----\nabc",
    ):
        with pytest.raises(
            ConfigurationError, match="POLARITY_SIGNING_KEY is not a private key of the curve"
        ) as caught:
            sign(bento, private, name="x")
        assert "BEGIN" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="POLARITY_VERIFY_KEY is not a public key of the curve"):
        verify(bento, keys[0])
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        verify(bento, str(tmp_path / "absent.pem"))


def test_a_signed_bento_is_not_changed_without_a_key(bento: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POLARITY_SIGNING_KEY")
    with pytest.raises(ConfigurationError, match="is signed, and POLARITY_SIGNING_KEY is not set"):
        write_provenance(f"sentiment:{bento.name}", Provenance({"run_id": "another"}))
    verify(bento, keys[1])


def test_the_commands_sign_and_verify(
    bento: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["polarity", *arguments])
        code, printed = main(), capsys.readouterr()
        return code, printed.out + printed.err

    code, output = run("verify", str(bento))
    assert code == 2 and "Set POLARITY_VERIFY_KEY to the public key" in output
    monkeypatch.setenv("POLARITY_VERIFY_KEY", keys[1])
    extra = bento / "extra"
    extra.write_text("")
    code, output = run("verify", f"sentiment:{bento.name}")
    assert code == 1 and "added: extra" in output
    assert run("sign", f"sentiment:{bento.name}") == (0, f"'{bento}' is signed.\n")
    assert run("verify") == (0, f"'{bento}' is what was signed.\n")
    extra.unlink()
    sign(bento, keys[0], name="sentiment")


def test_bentoml_does_not_serve_what_was_changed(bento: Path, keys: Keys) -> None:
    path = bento / "src" / "bentos" / "door.py"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content + b"#")
    try:
        with pytest.raises(PolarityError) as caught, served(bento, environment={"POLARITY_VERIFY_KEY": keys[1]}):
            pass
    finally:
        path.write_bytes(content)
    assert "The server cannot start:" in str(caught.value)
    assert "(changed: src/bentos/door.py)" in str(caught.value)
