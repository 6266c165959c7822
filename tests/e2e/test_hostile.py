"""Ten thousand requests, of which one in twenty is bad in some way; and whatever the interface's description allows."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from typing import Any

import aiohttp
import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.e2e.test_contract import REFUSALS

REQUESTS, BAD = 10_000, 500
CONNECTIONS = 32
MIB = 1024 * 1024

# What is bad, and the statuses that it may get; of the big ones, few.
BROKEN: list[tuple[str, bytes, set[int]]] = [
    *(
        (name, body if isinstance(body, bytes) else json.dumps(body).encode(), {status})
        for name, (body, status, _) in REFUSALS.items()
    ),
    ("no UTF-8", b'{"text": "caf\xe9"}', {400, 422}),
    ("half of a character", b'{"text": "\xf0\x9f\x98"}', {400, 422}),
    ("a surrogate as bytes", b'{"text": "\xed\xa0\x80"}', {400, 422}),
    ("2,001 emoji", json.dumps({"text": "😀" * 2001}).encode(), {422}),
    ("zero-width alone", json.dumps({"text": "\u200b\u200c\u200d\u2060"}).encode(), {400}),
    ("right-to-left marks alone", json.dumps({"text": "\u202e\u200f\u2067"}).encode(), {400}),
    ("an array of texts", b'{"text": ["good", "bad"]}', {422}),
    ("a boolean", b'{"text": true}', {422}),
]
GIANTS: list[tuple[str, bytes, set[int]]] = [
    ("over a MiB", json.dumps({"text": "x" * (MIB + 1)}).encode(), {413}),
    ("10 MB", json.dumps({"text": "x" * 10_000_000}).encode(), {413}),
]
ODD = [
    "I ❤️ it", "😀" * 2000, "\x00 good \x00", "الخدمة سيئة جدا", "\u202egood\u202c", "z\u200da\u200bl\u0338g\u0336o",
    "half \ud83d", "so good", "so bad", "what a day", "never again", "#1 @you http://t.co/x",
]  # fmt: skip


def generated(base_url: str) -> list[bytes]:
    """Bodies that the description of the interface forbids, written by schemathesis."""
    operation = schemathesis.openapi.from_url(f"{base_url}/openapi.json")["/predict"]["POST"]
    bodies: list[bytes] = []

    @given(operation.as_strategy(GenerationMode.NEGATIVE))
    @settings(
        max_examples=60,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def collect(case: schemathesis.Case) -> None:
        sent = case.as_transport_kwargs(base_url=base_url)
        body = sent.get("data") if sent.get("json") is None else json.dumps(sent["json"])
        if isinstance(body, str | bytes):
            bodies.append(body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body)

    collect()
    return bodies


def forbidden(body: bytes) -> bool:
    """Whether a body is none that `/predict` describes."""
    try:
        read: Any = json.loads(body)
    except ValueError:
        return True
    return not (isinstance(read, dict) and set(read) == {"text"} and isinstance(read["text"], str))


def test_of_ten_thousand_requests_the_bad_are_refused_and_the_good_do_not_suffer(base_url: str) -> None:
    made = [("generated", body, {400, 413, 422}) for body in generated(base_url) if forbidden(body)]
    assert len(made) > 20
    draw = random.Random(5)
    bad = [draw.choice([*BROKEN, *made]) for _ in range(BAD - 8)] + GIANTS * 4
    requests: list[tuple[str, bytes, set[int]]] = [
        (text, json.dumps({"text": text}).encode(), {200}) for text in draw.choices(ODD, k=REQUESTS - BAD)
    ]
    requests += bad
    draw.shuffle(requests)
    alone = {}
    with httpx.Client(base_url=base_url, timeout=60, trust_env=False) as client:
        for text in ODD:
            alone[text] = client.post("/predict", content=json.dumps({"text": text})).json()["probabilities"]

    async def send() -> list[str]:
        wrong: list[str] = []
        waiting = iter(requests)

        async def ask_on(session: aiohttp.ClientSession) -> None:
            for name, body, statuses in waiting:
                async with session.post(f"{base_url}/predict", data=body) as response:
                    answer = await response.json()
                    if response.status not in statuses:
                        wrong.append(f"{name!r}: {response.status} {answer}")
                    elif response.status == 200 and answer["probabilities"] != pytest.approx(alone[name], abs=1e-3):
                        wrong.append(f"{name!r}: {answer['probabilities']}, alone {alone[name]}")
                    elif response.status != 200 and not answer["detail"]:
                        wrong.append(f"{name!r}: no detail")

        timeout, connector = aiohttp.ClientTimeout(120), aiohttp.TCPConnector(limit=CONNECTIONS)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            await asyncio.gather(*(ask_on(session) for _ in range(CONNECTIONS)))
        return wrong

    wrong = asyncio.run(send())
    assert not wrong, Counter(wrong).most_common(10)


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/explain", "/feedback"])
def test_the_interface_answers_as_it_is_described(base_url: str, path: str, mode: GenerationMode) -> None:
    operation = schemathesis.openapi.from_url(f"{base_url}/openapi.json")[path]["POST"]

    @given(operation.as_strategy(mode))
    @settings(max_examples=25, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def ask(case: schemathesis.Case) -> None:
        # blank texts and numbers fit the description, and are refused all the same, with the 400 that it names
        case.call_and_validate(base_url=base_url, excluded_checks=[positive_data_acceptance])

    ask()
