"""The canary and real servers on the loopback interface: who is answered by a challenger, and who is covered for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from polarity.record.answer import Challenge
from polarity.serving.canary import Canary

LABELS = ("negative", "positive")


def item(sentiment: str = "negative", *, version: str = "v2", **given: object) -> dict[str, object]:
    probabilities = {"negative": 0.25, "positive": 0.25, sentiment: 0.75}
    model = {"version": version, "family": "logistic", "bento": "sentiment-candidate:v2"}
    return {"sentiment": sentiment, "score": 0.75, "probabilities": probabilities, "model": model, **given}


def asked(
    respond: Callable[[list[str]], object], requests: int = 1, *, delay_s: float = 0.0
) -> tuple[list[Any], list[float | None], list[str | None]]:
    """The answers to some requests of two texts each, what was reported of each, and the keys that were sent."""
    reports: list[float | None] = []
    keys: list[str | None] = []

    async def run() -> list[Any]:
        async def handle(request: web.Request) -> web.Response:
            assert request.headers["x-polarity-mirrored"] == "1"
            keys.append(request.headers.get("authorization"))
            texts = (await request.json())["texts"]
            await asyncio.sleep(delay_s)
            body: Any = respond(texts)
            return body if isinstance(body, web.Response) else web.json_response(body)

        application = web.Application()
        application.router.add_post("/predict/batch", handle)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        canary = Canary(report=reports.append, deadline_s=0.5, key="a-key")
        canary.serve(LABELS, "v1")
        canary.follow(Challenge(f"http://127.0.0.1:{runner.addresses[0][1]}", 1.0, 1.0, "v2"))
        found = [await canary.ask(["one", "two"]) for _ in range(requests)]
        await canary.close()
        await runner.cleanup()
        return found

    return asyncio.run(run()), reports, keys


def test_answers_are_those_of_the_challenger() -> None:
    found, reports, keys = asked(lambda texts: {"predictions": [item("positive"), item()]})
    ((first, second),) = found
    assert (first.sentiment, first.score, first.served.version) == ("positive", 0.75, "v2")
    assert list(second.probabilities) == list(LABELS)
    assert reports[0] is not None
    assert keys == ["Bearer a-key"]


@pytest.mark.parametrize(
    "respond",
    [
        lambda texts: web.Response(status=500),
        lambda texts: web.Response(status=302, headers={"Location": "http://127.0.0.1:9/"}),
        lambda texts: web.Response(body=b"x" * 200_000),
        lambda texts: {"predictions": [item()]},
        lambda texts: {"predictions": [item(), item(version="v3")]},
        lambda texts: {"predictions": [item(), item(score=7)]},
        lambda texts: {"predictions": [item(), item(probabilities={"negative": 1.0})]},
        lambda texts: {"predictions": [item(), item(model={})]},
    ],
    ids=["error", "redirect", "long", "few", "another version", "no probability", "labels", "no version"],
)
def test_what_is_no_answer_is_covered_for(respond: Callable[[list[str]], object]) -> None:
    assert asked(respond)[:2] == ([[None, None]], [None])


def test_a_late_challenger_is_covered_for() -> None:
    assert asked(lambda texts: {"predictions": [item(), item()]}, delay_s=2.0)[:2] == ([[None, None]], [None])


def test_a_text_that_the_challenger_refuses_is_covered_for_and_the_others_are_not() -> None:
    found, reports, _ = asked(lambda texts: {"predictions": [item(), {"error": "too long"}]})
    assert found[0][0].served.version == "v2"
    assert found[0][1] is None
    assert reports == [None]


def test_a_challenger_that_fails_again_and_again_is_left_alone_for_a_while() -> None:
    found, reports, keys = asked(lambda texts: web.Response(status=500), requests=20)
    assert found == [[None, None]] * 20
    assert reports == [None] * 20
    assert len(keys) == 5


def test_a_share_is_of_the_same_clients_and_part_of_every_larger_one() -> None:
    canary = Canary(report=lambda seconds: None, deadline_s=1.0)
    canary.serve(LABELS, "v1")
    clients = [f"client {number}" for number in range(10_000)]
    before: set[str] = set()
    for share in (0.01, 0.05, 0.25, 0.5, 1.0):
        canary.follow(Challenge("http://127.0.0.1:9", 1.0, share, "v2"))
        chosen = {client for client in clients if canary.chooses(client)}
        assert before <= chosen
        # Four standard deviations.
        assert abs(len(chosen) - 10_000 * share) <= 400 * (share * (1 - share)) ** 0.5
        before = chosen


@pytest.mark.parametrize(
    "challenge",
    [
        Challenge("", 1.0, 1.0, "v2"),
        Challenge("http://127.0.0.1:9", 1.0, 1.0, ""),
        Challenge("http://127.0.0.1:9", 1.0, 1.0, "v1"),
    ],
    ids=["nowhere", "unknown", "itself"],
)
def test_nobody_is_answered_by_a_challenger_that_is_none(challenge: Challenge) -> None:
    canary = Canary(report=lambda seconds: None, deadline_s=1.0)
    canary.serve(LABELS, "v1")
    canary.follow(challenge)
    assert canary.share == 0


def test_a_server_that_takes_over_the_challengers_model_answers_all_clients_itself() -> None:
    canary = Canary(report=lambda seconds: None, deadline_s=1.0)
    canary.serve(LABELS, "v1")
    canary.follow(Challenge("http://127.0.0.1:9", 1.0, 1.0, "v2"))
    assert canary.share == 1
    canary.serve(LABELS, "v2")
    assert canary.share == 0
