"""A real nginx in front, which publishes the server below a path."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bentoml
import httpx
import pytest

from polarity.bento.server import free_port
from tests.integration.servers import until

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = [
    pytest.mark.skipif("BASE_URL" in os.environ, reason="needs a server of its own"),
    pytest.mark.skipif(NGINX is None, reason="needs nginx"),
]

CONFIGURATION = """\
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  client_max_body_size 0;
  upstream polarity {{ server {server}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    location /sentiment/ {{
      proxy_pass http://polarity/;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header X-Forwarded-Prefix /sentiment;
    }}
    location /sentiment/predict/stream {{
      proxy_pass http://polarity/predict/stream;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_request_buffering off;
      proxy_buffering off;
    }}
  }}
}}
"""


@pytest.fixture(scope="module")
def url(serve: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    with serve(POLARITY_PREDICTION_LOG="off") as server:
        text = CONFIGURATION.format(folder=folder, server=server.url.removeprefix("http://"), port=port)
        (folder / "nginx.conf").write_text(text)
        with (folder / "log").open("wb") as log:
            proxy = subprocess.Popen([str(NGINX), "-c", str(folder / "nginx.conf")], stdout=log, stderr=log)
        address = f"http://127.0.0.1:{port}/sentiment"
        try:
            until(lambda: answers(f"{address}/readyz"), 30, message=(folder / "log").read_text())
            yield address
        finally:
            proxy.terminate()
            proxy.wait(10)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def test_links_and_document_have_the_prefix(url: str) -> None:
    links = httpx.get(f"{url}/", trust_env=False).json()["links"]
    assert links["predict"] == "/sentiment/predict"
    origin = url.removesuffix("/sentiment")
    assert httpx.get(origin + links["docs"], trust_env=False).status_code == 200
    assert httpx.get(f"{url}/openapi.json", trust_env=False).json()["servers"] == [{"url": "/sentiment"}]


def test_answers_come_through(url: str) -> None:
    with httpx.Client(base_url=url, trust_env=False, headers={"accept-language": "en"}) as client:
        for number in range(200):  # over connections that are kept
            assert client.post("/predict", json={"text": f"what a lovely day {number}"}).status_code == 200
        assert client.post("/predict", json={"text": " "}).status_code == 400
        assert client.head("/").status_code == 200
    with bentoml.SyncHTTPClient(f"{url}/") as bento:
        assert bento.predict(text="so sad")["sentiment"]


def test_a_stream_comes_through(url: str, tmp_path: Path) -> None:
    body = b"".join(b'{"text": "so sad %d"}\n' % number for number in range(5_000))
    response = httpx.post(f"{url}/predict/stream", content=body, trust_env=False, timeout=60)
    found = [json.loads(line) for line in response.content.splitlines()]
    assert len(found) == 5_000
    assert all("prediction_id" in one for one in found)
