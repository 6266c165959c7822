"""Encoders on the hub, here a server on this machine that speaks enough of its protocol."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from polarity.config.settings import PROJECT
from tests.encoders import write_encoder

REVISION = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves the encoder `owner/encoder`; `owner/gated` needs accepted terms, and nothing else exists."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.folder = folder
        self.requested: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.server.requested.append(self.path)
        path = self.path.partition("?")[0].removeprefix("/api/models")
        if path.startswith("/owner/gated"):
            self._refuse(403, "GatedRepo", "Access to model owner/gated is restricted.")
        elif path == "/owner/encoder/revision/main" or path == "/owner/encoder":
            files = [{"rfilename": file.name} for file in sorted(self.server.folder.iterdir())]
            self._send(json.dumps({"id": "owner/encoder", "sha": REVISION, "siblings": files}).encode())
        elif path.startswith(f"/owner/encoder/resolve/{REVISION}/"):
            self._send((self.server.folder / path.rpartition("/")[2]).read_bytes())
        else:
            self._refuse(401, "RepoNotFound", "Repository Not Found")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _send(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", REVISION)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def _refuse(self, status: int, code: str, message: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output clean."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = write_encoder("xlm-t", tmp_path_factory.mktemp("hub") / "encoder")
    (folder / "pytorch_model.bin").write_bytes(b"not wanted")
    (folder / "tf_model.h5").write_bytes(b"not wanted beside safetensors")
    with Hub(folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def resolve(name: str, home: Path, **environment: str) -> str:
    """Resolve an encoder in a process of its own, since the library reads its settings once, and return its output."""
    program = (
        "import sys; from polarity.families.encoders import resolve_encoder\n"
        "from polarity.errors import ConfigurationError\n"
        "try: print(resolve_encoder(sys.argv[1], 'roberta').weights_file)\n"
        "except ConfigurationError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, name],
        env={**os.environ, "HF_HOME": str(home), "PYTHONPATH": str(PROJECT / "src"), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_an_encoder_is_downloaded_once_and_used_offline_from_then_on(hub: Hub, tmp_path: Path) -> None:
    weights = resolve("owner/encoder", tmp_path, HF_ENDPOINT=hub.url)
    assert Path(weights).is_relative_to(tmp_path)
    assert Path(weights).name == "model.safetensors"
    taken = {file.name for file in Path(weights).parent.iterdir()}
    assert taken >= {"config.json", "sentencepiece.bpe.model", "special_tokens_map.json", "tokenizer_config.json"}
    assert not taken & {"pytorch_model.bin", "tf_model.h5"}
    before = len(hub.requested)
    assert resolve("owner/encoder", tmp_path, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="1") == weights
    assert len(hub.requested) == before


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("owner/gated", {}, "it is gated. Accept the terms on its page on the hub, then set HF_TOKEN"),
        ("owner/private", {}, "no public model of that name. Check the spelling; if it is private, set HF_TOKEN"),
        ("owner/encoder", {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set, and"),
        ("owner/encoder", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "the hub cannot be reached, and"),
    ],
)
def test_an_encoder_that_cannot_be_had_is_an_error_that_says_what_to_do(
    hub: Hub, tmp_path: Path, name: str, settings: dict[str, str], message: str
) -> None:
    found = resolve(name, tmp_path, **{"HF_ENDPOINT": hub.url, **settings})
    assert found.startswith(f"The encoder '{name}' cannot be loaded from the Hugging Face hub: ")
    assert message in found
