"""A server that follows a store takes over only what its check lets pass, and looks again when that has changed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from bentos.integrity import require_signature
from polarity.inference.signature import sign
from polarity.serving.follower import Follower, NewBento


def test_a_bento_is_taken_over_once_it_is_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    for version in ("one", "two"):
        (tmp_path / version / "src" / "model").mkdir(parents=True)
        for name in ("bento.yaml", "src/code.py", "src/model/model.json"):
            (tmp_path / version / name).write_text(name)
    pointer = tmp_path / "latest"
    pointer.write_text("one")
    taken: list[str] = []

    async def take_over(bento: NewBento) -> None:
        taken.append(bento.tag)

    async def until(condition: object) -> None:
        async with asyncio.timeout(30):
            while not condition():  # type: ignore[operator]
                await asyncio.sleep(0.02)

    async def scenario() -> None:
        follower = Follower(pointer, "one", take_over, check=require_signature)
        follower.start()
        pointer.write_text("two")
        await until(lambda: follower.problem)
        assert "two' is not signed" in str(follower.problem)
        assert not taken
        sign(tmp_path / "two", key, name="two")
        await until(lambda: taken)
        assert follower.problem is None
        await follower.close()

    monkeypatch.setenv("POLARITY_VERIFY_KEY", public)
    asyncio.run(scenario())
    assert taken == [f"{tmp_path.name}:two"]
