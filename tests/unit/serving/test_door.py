"""The door below a path prefix: uvicorn's `root_path`, or the prefix that a proxy sends."""

from __future__ import annotations

import asyncio
import base64
import gzip
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from bentos.api import api
from bentos.door import Door
from tests.unit.serving.test_contract import Model, contract


class IdleModel(Model):
    def retry_delay_s(self, *, incoming: int = 0) -> float | None:
        return None


@pytest.fixture
def door() -> Iterator[Door]:
    served = contract(IdleModel())
    api.state.contract = served
    door = Door(api, keys=(), body_timeout_s=1)
    door.open(served, problem=lambda: None)
    yield door
    api.state.contract = None


def ask(door: Door, method: str, path: str, *, root_path: str = "", **request: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(door, root_path=root_path)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.request(method, path, **request)

    return asyncio.run(send())


def test_every_route_works_below_the_root_path(door: Door) -> None:
    for path in ("/predict", "/predict/", "/explain", "/explain/"):
        response = ask(door, "POST", f"/v1{path}", root_path="/v1", json={"text": "so so"})
        assert response.status_code == 200, path
    for path in ("", "/", "/model", "/model/", "/docs", "/readyz"):
        assert ask(door, "GET", f"/v1{path}", root_path="/v1").status_code == 200, path
    assert ask(door, "GET", "/v1/nowhere", root_path="/v1").status_code == 404


def test_openapi_document_has_the_root_path_as_its_server(door: Door) -> None:
    assert "servers" not in ask(door, "GET", "/openapi.json").json()
    response = ask(door, "GET", "/v1/openapi.json", root_path="/v1")
    assert response.json()["servers"] == [{"url": "/v1"}]
    assert ask(door, "GET", "/v1/", root_path="/v1").json()["links"]["docs"] == "/v1/docs"


def test_proxy_prefix_takes_precedence_over_the_root_path(door: Door) -> None:
    proxied = {"x-forwarded-prefix": "/public/v1"}
    response = ask(door, "GET", "/v1/openapi.json", root_path="/v1", headers=proxied)
    assert response.json()["servers"] == [{"url": "/public/v1"}]


def test_chunked_compressed_body_is_read(door: Door) -> None:
    whole = gzip.compress(b'{"text": "so so"}')

    async def pieces() -> Any:
        for start in range(0, len(whole), 5):
            yield whole[start : start + 5]

    response = ask(door, "POST", "/predict", content=pieces(), headers={"content-encoding": "gzip"})
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x-api-key": " key\t"}, 200),
        ({"authorization": "Bearer key "}, 200),
        ({"authorization": " bearer \t key"}, 200),
        ({"authorization": "BEARER\tkey"}, 200),
        ({"authorization": "Bearer"}, 401),
        ({"authorization": "key"}, 401),
        ({"authorization": "Bearer key key"}, 401),
        ({"authorization": ""}, 401),
        ({"authorization": f"Basic {base64.b64encode(b'anybody:key').decode()}"}, 200),
        ({"authorization": f"basic {base64.b64encode(b'key:other').decode()}"}, 401),
        ({"authorization": "Basic key"}, 401),
        ({"authorization": "Basic"}, 401),
        ({"x-api-key": "k ey"}, 401),
    ],
)
def test_blanks_around_a_key_are_ignored(headers: dict[str, str], status: int) -> None:
    guarded = Door(api, keys=["key"], body_timeout_s=1)
    guarded.open(contract(IdleModel()), problem=lambda: None)
    assert ask(guarded, "POST", "/predict", json={"text": "so so"}, headers=headers).status_code == status


def test_bodies_under_way_share_a_budget() -> None:
    narrow = Door(api, keys=(), body_timeout_s=5, max_buffered_bytes=10_000)
    narrow.open(contract(IdleModel()), problem=lambda: None)
    body = b'{"text": "so so"' + 4000 * b" " + b"}"

    async def scenario() -> list[int]:
        go_on = asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield body[:4000]
            await go_on.wait()
            yield body[4000:]

        transport = httpx.ASGITransport(narrow)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:

            def post(content: AsyncIterator[bytes]) -> asyncio.Task[httpx.Response]:
                return asyncio.create_task(client.post("/predict", content=content))

            waiting = [post(slowly()), post(slowly())]
            await asyncio.sleep(0.05)
            refused = await post(slowly())
            assert refused.headers["retry-after"] == "1" and refused.json()["detail"]
            go_on.set()
            answered = await asyncio.gather(*waiting)
            assert narrow._buffered_bytes == 0
            return [refused.status_code, *(one.status_code for one in answered)]

    assert asyncio.run(scenario()) == [503, 200, 200]
