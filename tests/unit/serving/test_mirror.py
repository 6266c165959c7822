"""The mirror and real servers on the loopback interface: what is recorded, dropped and thrown away."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from aiohttp import web

from polarity.record.answer import Answer, Challenge, Mirrored
from polarity.serving.mirror import Mirror

Respond = Callable[[list[str]], object]


class Recorded:
    """What a mirror handed over."""

    def __init__(self) -> None:
        self.pairs: list[Mirrored] = []
        self.fates: Counter[str] = Counter()

    def record(self, pairs: Sequence[Mirrored]) -> bool:
        self.pairs += pairs
        return True

    def report(self, fate: str, texts: int) -> None:
        self.fates[fate] += texts


def item(sentiment: str = "negative", score: float = 0.75, version: str = "v2", **given: object) -> dict[str, object]:
    other = {"negative": "positive", "positive": "negative"}[sentiment]
    probabilities = {sentiment: score, other: 1 - score}
    model = {"version": version, "family": "logistic"}
    return {"sentiment": sentiment, "score": score, "probabilities": probabilities, "model": model, **given}


def answer(number: int, *, drawn: bool = False, probability: float = 0.05, text: str = "so so") -> Answer:
    positive = {"positive": 0.9, "negative": 0.1}
    return Answer(f"{number:04}", 1.0, text, "positive", 0.9, positive, None, 0.0, 0.0, probability, drawn)


def mirrored(
    respond: Respond,
    answers: Sequence[Answer],
    *,
    share: float = 1.0,
    served: Sequence[tuple[str, ...]] = (("negative", "positive"),),
) -> Recorded:
    """Mirror the answers to a server that responds so, until each has met its fate."""

    async def run() -> Recorded:
        async def handle(request: web.Request) -> web.Response:
            assert request.headers["x-polarity-mirrored"] == "1"
            body: Any = respond((await request.json())["texts"])
            return body if isinstance(body, web.Response) else web.json_response(body)

        application = web.Application(client_max_size=2**22)
        application.router.add_post("/predict/batch", handle)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        recorded = Recorded()
        mirror = Mirror(recorded.record, report=recorded.report)
        for labels in served:
            mirror.serve(labels)
        mirror.follow(Challenge(f"http://127.0.0.1:{runner.addresses[0][1]}", share))
        for one in answers:
            mirror.offer(one)
        await _settled(lambda: sum(recorded.fates.values()) >= len(answers) or share < 1)
        await mirror.close()
        await runner.cleanup()
        return recorded

    async def _settled(done: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not done():
                await asyncio.sleep(0.01)

    work: Awaitable[Recorded] = run()
    return asyncio.run(work)  # type: ignore[arg-type]


def test_answers_are_handed_over_with_the_probability_of_being_asked_about() -> None:
    def respond(texts: list[str]) -> object:
        agreeing = [item("positive"), *[item() for _ in texts[2:]]]
        return {"predictions": [*agreeing, {"error": "no"}]}

    found = mirrored(respond, [answer(0), answer(1), answer(2, drawn=True), answer(3, probability=0.3), answer(4)])
    assert [(p.prediction_id, p.version, p.sentiment, p.inclusion, p.asked) for p in found.pairs] == [
        ("0000", "v2", "positive", None, False),
        ("0001", "v2", "negative", 0.95, True),
        ("0002", "v2", "negative", 0.95, False),
        ("0003", "v2", "negative", 0.7, False),
    ]
    assert found.fates == {"recorded": 4, "failed": 1}


BAD: dict[str, object] = {
    "another status": web.Response(status=503),
    "a redirect": web.Response(status=307, headers={"location": "/predict/batch"}),
    "no JSON": web.Response(text="<html>"),
    "too deep": web.Response(text="[" * 50_000),
    "too long": web.Response(body=b" " * 2**20),
    "too few answers": {"predictions": []},
    "other labels": {"predictions": [item(probabilities={"negative": 0.75, "neutral": 0.25})]},
    "no probability": {"predictions": [item(score=7.0)]},
    "not the likeliest": {"predictions": [item(score=0.25)]},
    "no version": {"predictions": [item(version="")]},
    "a version that is none": {"predictions": [item(version="v\x00")]},
    "a version without end": {"predictions": [item(version="v" * 10_000)]},
}


@pytest.mark.parametrize("name", BAD)
def test_nothing_of_a_bad_response_is_recorded(name: str) -> None:
    found = mirrored(lambda _: BAD[name], [answer(0)])
    assert (found.pairs, found.fates) == ([], {"failed": 1})


def test_a_challenger_must_have_the_labels_of_the_model_that_is_served_now() -> None:
    models = [("negative", "positive"), ("negative", "neutral")]
    other = {"predictions": [item(probabilities={"negative": 0.75, "neutral": 0.25})]}
    assert mirrored(lambda _: other, [answer(0)], served=models).fates == {"recorded": 1}
    assert mirrored(lambda _: {"predictions": [item()]}, [answer(0)], served=models).fates == {"failed": 1}


def test_a_full_queue_drops() -> None:
    found = mirrored(lambda texts: {"predictions": [item() for _ in texts]}, [answer(n) for n in range(5_000)])
    assert found.fates == {"recorded": 4_096, "dropped": 904}
    assert len({pair.prediction_id for pair in found.pairs}) == 4_096
    long = mirrored(
        lambda texts: {"predictions": [item() for _ in texts]}, [answer(n, text="x" * 2_000) for n in range(600)]
    )
    assert long.fates == {"recorded": 500, "dropped": 100}


def test_without_a_share_nothing_is_sent() -> None:
    assert mirrored(lambda _: {"predictions": []}, [answer(n) for n in range(100)], share=0.0).fates == {}
