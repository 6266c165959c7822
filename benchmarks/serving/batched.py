"""The minimum: a bare ASGI application with this project's batcher and model.

No input validation, no log, no metrics, no BentoML. PEER_MODEL is the folder of the packaged model.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import msgspec

from polarity.families.packaging import load_predictor
from polarity.families.registry import family_named
from polarity.serving.batcher import Batcher, Busy
from polarity.serving.local import LocalModel

predictor = load_predictor(Path(os.environ["PEER_MODEL"]))
predictor.warm_up()
execution = family_named(predictor.manifest.family).traits.execution
batcher = Batcher(
    LocalModel(predictor, inline=execution.inline).run,
    max_batch=execution.max_batch,
    queue_room=execution.queue_room,
    max_wait_s=0.5,
    max_queue=20_000,
    deadline_s=30.0,
)


class Tweet(msgspec.Struct):
    text: str


async def app(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """Respond as POST /predict does, on any path."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    status, answer = 400, b"{}"
    if body:
        try:
            (row,) = await batcher.predict([msgspec.json.decode(body, type=Tweet).text])
        except Busy:
            status = 429
        else:
            probabilities = dict(zip(predictor.labels, row, strict=True))
            sentiment = max(probabilities, key=probabilities.__getitem__)
            found = {"sentiment": sentiment, "score": probabilities[sentiment], "probabilities": probabilities}
            status, answer = 200, msgspec.json.encode(found)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
