"""The door of the server: who may come in, how much they may bring, and which way is the shortest.

It stands before everything of BentoML. Predictions are answered right here;
BentoML's own routes (health, metrics, schema, static files) and the rare
routes of the contract go on to BentoML and FastAPI.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, MutableMapping
from functools import lru_cache, partial
from time import perf_counter
from typing import Any

import msgspec

from polarity.serving import metrics
from polarity.serving.content_encoding import decompress
from polarity.serving.contract import Contract, Handler, Headers, Refused, Reply, spoken

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Coroutine[Any, Any, Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MIB = 1024 * 1024
_BODY_LIMIT = {"/predict/batch": 4 * MIB}
# A client that sends more than allowed is listened to for a while, or it may never read the refusal.
_DRAIN_LIMIT = 32 * MIB

_HEALTH = frozenset({"/healthz", "/livez", "/readyz"})
_BENTOML = frozenset({"/metrics", "/schema.json", "/docs.json"})
_ROUTES = frozenset(
    {
        "/",
        "/predict",
        "/predict/batch",
        "/explain",
        "/feedback",
        "/model",
        "/docs",
        "/openapi.json",
    }
)
# What a proxy may say about where it publishes this server: a path, and nothing that reads as another host.
_PREFIX = re.compile(rb"((?:/[A-Za-z0-9._~-]{1,64}){1,8})/?")

_SAFE = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
_CLOSE = (b"connection", b"close")
_SOON = (b"retry-after", b"1")
_JSON = ((b"content-type", b"application/json"), (b"content-security-policy", b"default-src 'none'"), *_SAFE)


class _Begun:
    """A coroutine that has gone as far as it can without waiting; awaiting it goes on.

    Nearly every body comes with its head, and then there is nothing to set a timer for.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Message]) -> None:
        self.message: Message | None = None
        self._coroutine, self._waits_for = coroutine, None
        try:
            self._waits_for = coroutine.send(None)
        except StopIteration as end:
            self.message = end.value

    def __await__(self) -> Generator[Any, Any, Message]:
        while self.message is None:
            try:
                got = yield self._waits_for
            except BaseException as error:
                go_on = partial(self._coroutine.throw, error)
            else:
                go_on = partial(self._coroutine.send, got)
            try:
                self._waits_for = go_on()
            except StopIteration as end:
                self.message = end.value
        return self.message


class Door:
    """An ASGI application in front of BentoML's.

    Parameters
    ----------
    api : ASGI application
        Answers the rare routes, and says that a route or a method does not exist.
    keys : iterable of str
        Any of them opens the door; none: it is open.
    body_timeout_s : float
        Longest time that a body may take to arrive.
    """

    def __init__(self, api: App, *, keys: Iterable[str], body_timeout_s: float) -> None:
        self._bentoml: App = api
        self._api = api
        self._keys = tuple(hashlib.sha256(key.encode()).digest() for key in keys)
        self._body_timeout_s = body_timeout_s
        self._contract: Contract | None = None
        self._trouble: Callable[[], str | None] = lambda: None
        self._hot: dict[str, Handler] = {}

    def before(self, bentoml: App) -> Door:
        """Stand in front of BentoML's application, which answers its own routes and the lifespan events."""
        self._bentoml = bentoml
        return self

    def open(self, contract: Contract, *, trouble: Callable[[], str | None]) -> None:
        """Let requests through to `contract`.

        Parameters
        ----------
        trouble : callable
            Why the model does not answer at this moment; none: it does. The readiness route tells it.
        """
        self._contract = contract
        self._trouble = trouble
        self._hot = {
            "/predict": contract.predict,
            "/predict/batch": contract.predict_batch,
            "/explain": contract.explain,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (scope["path"] not in self._hot or scope["method"] != "POST"):
            scope = _canonical(scope)
        if scope["type"] != "http" or scope["path"] in _HEALTH:
            if scope["type"] == "http" and scope["path"] == "/readyz" and self._contract is not None:
                # BentoML would ask the runner here, and wait for one that is gone.
                trouble = self._trouble()
                reply = Reply(200, b"{}") if trouble is None else Reply(503, _detail(trouble), (_SOON,))
                await _send(reply, send)
                return
            await self._bentoml(scope, receive, send)
            return
        path: str = scope["path"]
        headers: Headers = scope["headers"]
        started = perf_counter()
        try:
            if self._keys and not self._has_key(headers):
                raise Refused(401, "no_key", (b"www-authenticate", b"Bearer"))
            if path in _BENTOML or path.startswith("/static_content/"):
                metrics.flush()
                await self._bentoml(scope, receive, send)
                return
            body = await self._body(path, headers, receive) if scope["method"] == "POST" else b""
        except Refused as error:
            metrics.refused(error.code)
            reply = error.reply(spoken(headers))
        else:
            handler = self._hot.get(path) if scope["method"] == "POST" else None
            if handler is None or self._contract is None:
                status = await self._rare(scope, body, receive, send)
                metrics.answered(_route(path), status, perf_counter() - started)
                return

            async def gone() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass

            if (refusal := self._contract.crowded(headers)) is not None:
                metrics.refused("too_many")
                reply = refusal
            else:
                reply = await self._contract.answer(handler, body, headers, gone)
        await _send(reply, send)
        metrics.answered(_route(path), reply.status, perf_counter() - started)

    def crowded(self, path: str, coming: int) -> Reply | None:
        """The whole answer that any POST to `path` in no special language would get, with so many on their way here."""
        if self._contract is None or self._keys or path not in self._hot:
            return None
        reply = self._contract.crowded(coming=coming)
        return None if reply is None else _whole(reply)

    def refused(self, path: str, reply: Reply) -> None:
        """Count what was answered with `crowded`."""
        metrics.refused("too_many")
        metrics.answered(_route(path), reply.status, 0.0)

    def _has_key(self, headers: Headers) -> bool:
        given = b""
        for name, value in headers:
            if name == b"x-api-key":
                given = value
            elif name == b"authorization" and value[:7].lower() == b"bearer ":
                given = value[7:].strip()
        digest = hashlib.sha256(given).digest()
        # Every key is compared, each in constant time.
        return sum([hmac.compare_digest(digest, key) for key in self._keys]) > 0

    async def _body(self, path: str, headers: Headers, receive: Receive) -> bytes:
        limit = _BODY_LIMIT.get(path, MIB)
        announced, encoding = 0, b""
        for name, value in headers:
            if name == b"content-length" and value.isdigit():
                announced = int(value)
            elif name == b"content-encoding":
                encoding = b"%s,%s" % (encoding, value)
        if announced > limit and (announced > _DRAIN_LIMIT or any(name == b"expect" for name, _ in headers)):
            raise Refused(413, "too_large", _CLOSE)
        first = _Begun(receive())
        if first.message is not None and not first.message.get("more_body", True):
            whole: bytes = first.message["body"]
            if len(whole) <= limit:
                return decompress(whole, encoding, limit) if encoding else whole
        kept, size = bytearray(), 0
        try:
            async with asyncio.timeout(self._body_timeout_s):
                message = await first
                while True:
                    if message["type"] == "http.disconnect":
                        raise Refused(0, "gone")
                    chunk: bytes = message.get("body", b"")
                    size += len(chunk)
                    if size <= limit:
                        kept += chunk
                    if not message.get("more_body", False) or size > _DRAIN_LIMIT:
                        break
                    message = await receive()
        except TimeoutError:
            raise Refused(408, "body_too_slow", _CLOSE) from None
        if size > limit:
            raise Refused(413, "too_large", _CLOSE)
        return decompress(bytes(kept), encoding, limit) if encoding else bytes(kept)

    async def _rare(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> int:
        """Let FastAPI answer, with the body that was read and the headers that every answer has."""
        status = 500
        unread = True

        async def replay() -> Message:
            nonlocal unread
            if unread:
                unread = False
                return {"type": "http.request", "body": body, "more_body": False}
            return await receive()

        async def send_safely(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *_SAFE]}
            await send(message)

        prefix = _prefix(scope)
        await self._api({**scope, "root_path": prefix, "path": prefix + scope["path"]}, replay, send_safely)
        return status


def _canonical(scope: Scope) -> Scope:
    """The request as routes know it: without the server's prefix or a slash at the end of its path, HEAD as GET.

    The server still knows that it was HEAD, and sends no body.
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(root):
        path = path[len(root) :]
    path = path[:-1] if path.endswith("/") else path
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    return {**scope, "path": path or "/", "method": method}


def _prefix(scope: Scope) -> str:
    """The path under which a proxy publishes this server, or the server itself; mostly empty."""
    for name, value in scope["headers"]:
        if name == b"x-forwarded-prefix" and (given := _PREFIX.fullmatch(value)):
            return given[1].decode("ascii")
    root: str = scope.get("root_path", "")
    return root.rstrip("/")


async def _send(reply: Reply, send: Send) -> None:
    if not reply.status:
        return
    await send({"type": "http.response.start", "status": reply.status, "headers": _headers(reply)})
    await send({"type": "http.response.body", "body": reply.body})


def _headers(reply: Reply) -> tuple[tuple[bytes, bytes], ...]:
    """The headers that every answer has, and its own."""
    return (*_JSON, *reply.headers, (b"content-length", b"%d" % len(reply.body)))


@lru_cache(maxsize=256)
def _whole(reply: Reply) -> Reply:
    return reply._replace(headers=_headers(reply))


def _detail(text: str) -> bytes:
    return msgspec.json.encode({"detail": text})


def _route(path: str) -> str:
    return path if path in _ROUTES else "other"
