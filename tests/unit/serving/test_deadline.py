"""The deadline of what BentoML's application answers."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import PlainTextResponse

from bentos.asgi import App, Message, Receive, Scope, Send
from bentos.deadline import Deadline


def asked(app: App) -> tuple[list[Message], int]:
    """What an application sends, and how many timers wait for something afterwards."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def run() -> int:
        await app({"type": "http", "method": "GET", "path": "/"}, receive, send)
        loop: Any = asyncio.get_running_loop()
        return sum(not timer.cancelled() for timer in loop._scheduled)

    return sent, asyncio.run(run())


def test_response_is_passed_on_and_leaves_no_timer() -> None:
    sent, timers = asked(Deadline(PlainTextResponse("fine"), timeout=60.0))
    assert (sent[0]["status"], sent[1]["body"], timers) == (200, b"fine", 0)


def test_what_does_not_begin_in_time_is_ended_and_told() -> None:
    ended = False

    async def stuck(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            ended = True

    sent, timers = asked(Deadline(stuck, timeout=0.05))
    assert (sent[0]["status"], ended, timers) == (504, True, 0)
    assert b"within 0.05 s" in sent[1]["body"]


def test_stream_may_take_longer_than_its_beginning() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.2)
        await send({"type": "http.response.body", "body": b"end"})

    sent, _ = asked(Deadline(slow, timeout=0.05))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
