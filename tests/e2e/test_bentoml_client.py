"""BentoML's own clients against a served Bento."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bentoml
import httpx
import pytest
from bentoml.exceptions import BentoMLException

pytestmark = pytest.mark.skipif("BASE_URL" in os.environ, reason="needs a server of its own")

TEXT = "what a lovely day"


@pytest.fixture(scope="module")
def url(serve: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("log") / "predictions.db"
    with serve(POLARITY_API_KEY="a-key", POLARITY_PREDICTION_LOG=str(log)) as server:
        yield server.url


def plain(url: str, path: str, body: dict[str, Any]) -> Any:
    """What the contract answers, without ids."""
    answer = httpx.post(url + path, json=body, headers={"authorization": "Bearer a-key"}, trust_env=False)
    return without_ids(answer.raise_for_status().json())


def without_ids(answer: Any) -> Any:
    if isinstance(answer, list):
        return [without_ids(one) for one in answer]
    if isinstance(answer, dict):
        return {name: without_ids(value) for name, value in answer.items() if name != "prediction_id"}
    return answer


def test_the_client_has_a_method_for_each_operation(url: str) -> None:
    with bentoml.SyncHTTPClient(url, token="a-key") as client:
        assert without_ids(client.predict(text=TEXT)) == plain(url, "/predict", {"text": TEXT})
        assert without_ids(client.predict(TEXT)) == plain(url, "/predict", {"text": TEXT})
        texts = [TEXT, " ", "so sad"]
        assert without_ids(client.predict_batch(texts=texts)) == plain(url, "/predict/batch", {"texts": texts})
        assert without_ids(client.explain(text=TEXT)) == plain(url, "/explain", {"text": TEXT})
        answer = client.predict(text=TEXT)
        client.feedback(prediction_id=answer["prediction_id"], label=answer["sentiment"])


def test_the_asynchronous_client_has_them_too(url: str) -> None:
    async def ask() -> list[Any]:
        async with bentoml.AsyncHTTPClient(url, token="a-key") as client:
            return list(await asyncio.gather(*(client.predict(text=f"{TEXT} {n}") for n in range(20))))

    answers = asyncio.run(ask())
    assert len({answer["prediction_id"] for answer in answers}) == 20


def test_a_refusal_is_the_clients_exception_with_our_words(url: str) -> None:
    with bentoml.SyncHTTPClient(url, token="a-key") as client:
        with pytest.raises(BentoMLException, match=r"blank|vide") as refused:
            client.predict(text=" ")
        assert refused.value.error_code == 400
        with pytest.raises(TypeError, match="texte"):
            client.predict(texte=TEXT)
    with pytest.raises(BentoMLException), bentoml.SyncHTTPClient(url, token="another") as client:
        client.predict(text=TEXT)


def test_the_schema_says_what_the_document_says(url: str, tmp_path: Path) -> None:
    headers = {"authorization": "Bearer a-key"}
    schema = httpx.get(f"{url}/schema.json", headers=headers).json()
    paths = httpx.get(f"{url}/openapi.json", headers=headers).json()["paths"]
    posts = {path: operations["post"] for path, operations in paths.items() if "post" in operations}
    posts = {path: post for path, post in posts.items() if "application/json" in post["requestBody"]["content"]}
    assert {route["route"] for route in schema["routes"]} == posts.keys()
    for route in schema["routes"]:
        operation = posts[route["route"]]
        assert route["name"] == operation["operationId"]
        assert route["input"] == operation["requestBody"]["content"]["application/json"]["schema"]
