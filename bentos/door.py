"""The door of the server: API keys, body limits, and the fast path for predictions.

It is an ASGI application in front of BentoML's. Predictions are answered here;
BentoML's own routes (health, metrics, schema, static files) and the infrequent
routes of the contract are passed on to BentoML and FastAPI.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec

from bentos.asgi import App, Message, Receive, Scope, Send
from bentos.inference_api import INFER, LIVE, READY
from bentos.stream import STREAM, answer_stream
from polarity.serving import metrics
from polarity.serving.content_encoding import decompress
from polarity.serving.contract import Contract, Handler, Headers, Prediction, Refused, Reply, requested_language
from polarity.serving.label_studio import PREFIX as LABEL_STUDIO
from polarity.serving.trace_context import correlation

if TYPE_CHECKING:
    from bentos.simple_request import SimpleHead
    from polarity.serving.request_trace import RequestTrace
    from polarity.serving.telemetry import Telemetry

MIB = 1024 * 1024
_BODY_LIMIT = {"/predict/batch": 4 * MIB, INFER: 4 * MIB, f"{LABEL_STUDIO}/predict": 4 * MIB}
# A body over its limit is read up to this size, because a client that is still sending may never read the refusal.
_DRAIN_LIMIT = 32 * MIB

_READY = frozenset({"/readyz", *READY})
_HEALTH = frozenset({"/healthz", "/livez", LIVE, *_READY})
_BENTOML = frozenset({"/metrics", "/schema.json", "/docs.json"})
_ROUTES = frozenset(
    {
        "/",
        "/predict",
        "/predict/batch",
        STREAM,
        INFER,
        "/explain",
        "/feedback",
        "/review",
        "/review/claim",
        "/review/label",
        "/review/agreement",
        "/labelled",
        "/figures",
        "/status",
        "/model",
        "/docs",
        "/openapi.json",
        *(f"{LABEL_STUDIO}/{name}" for name in ("setup", "predict", "webhook", "health", "metrics")),
    }
)
# The prefix that a proxy may declare for this server: a plain path, nothing that could be read as another host.
_PREFIX = re.compile(rb"((?:/[A-Za-z0-9._~-]{1,64}){1,8})/?")

_SAFE = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
_CLOSE = (b"connection", b"close")
_RETRY_SOON = (b"retry-after", b"1")
_JSON = ((b"content-type", b"application/json"), (b"content-security-policy", b"default-src 'none'"), *_SAFE)


class StartedCoroutine:
    """A coroutine that has run until it first waits; awaiting it resumes it.

    Nearly every body arrives together with its head, so that no timeout needs to be set up.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Message]) -> None:
        self.message: Message | None = None
        self._coroutine, self._pending = coroutine, None
        try:
            self._pending = coroutine.send(None)
        except StopIteration as end:
            self.message = end.value

    def __await__(self) -> Generator[Any, Any, Message]:
        while self.message is None:
            try:
                got = yield self._pending
            except BaseException as error:
                resume = partial(self._coroutine.throw, error)
            else:
                resume = partial(self._coroutine.send, got)
            try:
                self._pending = resume()
            except StopIteration as end:
                self.message = end.value
        return self.message


class Door:
    """An ASGI application in front of BentoML's.

    Parameters
    ----------
    api : ASGI application
        Answers the infrequent routes, and unknown routes and methods.
    keys : iterable of str
        Accepted API keys; if empty, no key is required.
    body_timeout_s : float
        Maximum time for a body to arrive.
    max_buffered_bytes : int
        Maximum size of all bodies together that have arrived in part.
    prefix : str
        Path below which a proxy publishes the server, whether or not it removes it from the requests.
    """

    def __init__(
        self,
        api: App,
        *,
        keys: Iterable[str],
        body_timeout_s: float,
        max_buffered_bytes: int = 256 * MIB,
        prefix: str = "",
    ) -> None:
        self._bentoml: App = api
        self._api = api
        self._keys = tuple(hashlib.sha256(key.encode()).digest() for key in keys)
        self._body_timeout_s = body_timeout_s
        self._max_buffered_bytes = max_buffered_bytes
        self._prefix = prefix.rstrip("/")
        self._buffered_bytes = 0
        self._contract: Contract | None = None
        self._problem: Callable[[], str | None] = lambda: None
        self._count: Callable[[int, float], None] | None = None
        self._telemetry: Telemetry | None = None
        self._hot: dict[str, Handler] = {}

    def wrap(self, bentoml: App) -> Door:
        """Wrap BentoML's application, which answers its own routes and the lifespan events."""
        self._bentoml = bentoml
        return self

    def open(
        self,
        contract: Contract,
        *,
        problem: Callable[[], str | None],
        count: Callable[[int, float], None] | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        """Start serving `contract`.

        Parameters
        ----------
        problem : callable
            Returns why the model cannot answer at the moment, or `None` if it can; reported by the readiness route.
        count : callable, optional
            Called with the status and the seconds of each request, except for health checks and BentoML's routes.
        telemetry : Telemetry, optional
            Records a share of the same requests.
        """
        self._contract = contract
        self._problem = problem
        self._count = count
        self._telemetry = telemetry
        self._hot = {
            "/predict": contract.predict,
            "/predict/batch": contract.predict_batch,
            "/explain": contract.explain,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (scope["path"] not in self._hot or scope["method"] != "POST"):
            scope = _canonical({**scope, "root_path": self._prefix} if self._prefix else scope)
        if scope["type"] != "http" or scope["path"] in _HEALTH:
            if scope["type"] == "http" and scope["path"] == LIVE:
                await _send(Reply(200, b"{}"), send)
                return
            if scope["type"] == "http" and scope["path"] in _READY and self._contract is not None:
                # BentoML would query the runner here, and wait if it is gone.
                problem = self._problem()
                reply = Reply(200, b"{}") if problem is None else Reply(503, _detail(problem), (_RETRY_SOON,))
                await _send(reply, send)
                return
            await self._bentoml(scope, receive, send)
            return
        path: str = scope["path"]
        headers: Headers = scope["headers"]
        started = perf_counter()
        client = correlation(headers)
        trace = self._telemetry.begin(client) if self._telemetry is not None else None
        given_back = client.headers() if trace is None else trace.headers()
        try:
            if self._keys and not self._has_key(headers):
                raise Refused(401, "no_key", (b"www-authenticate", b"Bearer"))
            if path in _BENTOML or path.startswith("/static_content/"):
                metrics.flush()
                await self._bentoml(scope, receive, send)
                return
            if path == STREAM and scope["method"] == "POST" and self._contract is not None:
                if self._problem() is not None:
                    raise Refused(503, "away", _RETRY_SOON, _CLOSE)

                def answered(seconds: float) -> None:  # a stream may last for hours: each bunch counts as a request
                    self._answered(path, 200, seconds)

                await answer_stream(
                    self._contract,
                    headers,
                    receive,
                    send,
                    response_headers=[*_SAFE, *given_back],
                    timeout_s=self._body_timeout_s,
                    answered=answered,
                )
                return
            body = await self._body(path, headers, receive) if scope["method"] == "POST" else b""
        except Refused as error:
            metrics.refused(error.code)
            reply = error.reply(requested_language(headers))
        else:
            handler = self._hot.get(path) if scope["method"] == "POST" else None
            if handler is None or self._contract is None:
                status = await self._forward(scope, body, receive, send, given_back)
                self._answered(path, status, perf_counter() - started, scope["method"], trace)
                return

            async def disconnected() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass

            if (refusal := self._contract.overloaded(headers)) is not None:
                metrics.refused("too_many")
                reply = refusal
            else:
                reply = await self._contract.answer(handler, body, headers, disconnected)
        await _send(reply._replace(headers=(*reply.headers, *given_back)) if given_back else reply, send)
        self._answered(path, reply.status, perf_counter() - started, scope["method"], trace)

    def overloaded(self, path: str, incoming: int) -> Reply | None:
        """The refusal of any POST to `path` without `Accept-Language`, or `None` if not overloaded."""
        if self._contract is None or self._keys or path not in self._hot:
            return None
        reply = self._contract.overloaded(incoming=incoming)
        return None if reply is None else _with_common_headers(reply)

    def refused(self, path: str, reply: Reply, requests: int) -> None:
        """Count requests that were answered with the reply of `overloaded`."""
        metrics.refused("too_many", requests)
        metrics.answered(_route(path), reply.status, 0.0, requests)
        if self._count is not None:
            for _ in range(requests):
                self._count(reply.status, 0.0)

    def begin(self, head: SimpleHead, body: bytes) -> Prediction | None:
        """Begin to answer a POST of one text, or return `None` if it needs the whole way through `__call__`."""
        if self._contract is None or self._telemetry is not None or head.path != "/predict" or head.encoded:
            return None
        if self._keys and not self._has_key(head.headers):
            return None
        return self._contract.begin(body, head.headers)

    def complete(self, answer: Prediction, seconds: float) -> Reply:
        """Count a request that was begun, and return its response."""
        assert self._contract is not None
        reply = self._contract.complete(answer)
        self._answered("/predict", reply.status, seconds)
        return _with_common_headers(reply)

    def _answered(
        self, path: str, status: int, seconds: float, method: str = "POST", trace: RequestTrace | None = None
    ) -> None:
        route = _route(path)
        metrics.answered(route, status, seconds)
        if self._count is not None:
            self._count(status, seconds)
        if trace is not None and self._telemetry is not None:
            self._telemetry.end(trace, method, route, status)

    def turned_away(self, status: int, code: str) -> Reply:
        """Count a client whose connection is closed, and return the refusal for it."""
        metrics.refused(code)
        headers = (_CLOSE, _RETRY_SOON) if status == 503 else (_CLOSE,)
        return _with_common_headers(Refused(status, code, *headers).reply("fr"))

    def _has_key(self, headers: Headers) -> bool:
        given = b""
        for name, value in headers:
            if name == b"x-api-key":
                given = value.strip()
            elif name == b"authorization":
                given = _key_of(value)
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
        first = StartedCoroutine(receive())
        if first.message is not None and not first.message.get("more_body", True):
            whole: bytes = first.message["body"]
            if len(whole) <= limit:
                return decompress(whole, encoding, limit) if encoding else whole
        kept: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._body_timeout_s):
                message = await first
                if announced <= limit and self._buffered_bytes + announced > self._max_buffered_bytes:
                    # It would be refused anyway, but in the middle, when most of it has been read and copied.
                    raise Refused(503, "too_many_bodies", _CLOSE, _RETRY_SOON)
                while True:
                    if message["type"] == "http.disconnect":
                        raise Refused(0, "gone")
                    chunk: bytes = message.get("body", b"")
                    size += len(chunk)
                    if size <= limit:
                        kept.append(chunk)
                        self._buffered_bytes += len(chunk)
                        if self._buffered_bytes > self._max_buffered_bytes:
                            raise Refused(503, "too_many_bodies", _CLOSE, _RETRY_SOON)
                    if not message.get("more_body", False) or size > _DRAIN_LIMIT:
                        break
                    message = await receive()
        except TimeoutError:
            raise Refused(408, "body_too_slow", _CLOSE) from None
        finally:
            self._buffered_bytes -= sum(map(len, kept))
        if size > limit:
            raise Refused(413, "too_large", _CLOSE)
        body = b"".join(kept)
        return decompress(body, encoding, limit) if encoding else body

    async def _forward(
        self, scope: Scope, body: bytes, receive: Receive, send: Send, given_back: tuple[tuple[bytes, bytes], ...]
    ) -> int:
        """Let FastAPI answer, given the body already read, and add the headers common to all responses."""
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
                message = {**message, "headers": [*message["headers"], *_SAFE, *given_back]}
            await send(message)

        prefix = _prefix(scope)
        await self._api({**scope, "root_path": prefix, "path": prefix + scope["path"]}, replay, send_safely)
        return status


def _key_of(authorization: bytes) -> bytes:
    """The key in an `Authorization` header: a bearer's token, or the password of any user, as Label Studio sends it."""
    match authorization.split(None, 1):
        case [scheme, value] if scheme.lower() == b"bearer":
            return value.strip()
        case [scheme, value] if scheme.lower() == b"basic":
            with suppress(binascii.Error):
                return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
    return b""


def _canonical(scope: Scope) -> Scope:
    """The request as the routes expect it: no server prefix, no trailing slash, and GET instead of HEAD.

    The server still knows that it was HEAD and sends no body.
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and (path == root or path.startswith(f"{root}/")):
        path = path[len(root) :]
    path = path[:-1] if path.endswith("/") else path
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    return {**scope, "path": path or "/", "method": method}


def _prefix(scope: Scope) -> str:
    """The path prefix that a proxy or uvicorn's `root_path` publishes this server under; usually empty."""
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
    """All headers of a reply: those common to all responses, its own, and its length."""
    return (*_with_common_headers(reply).headers, (b"content-length", b"%d" % len(reply.body)))


def _with_common_headers(reply: Reply) -> Reply:
    return Reply(reply.status, reply.body, (*_JSON, *reply.headers))


def _detail(text: str) -> bytes:
    return msgspec.json.encode({"detail": text})


def _route(path: str) -> str:
    return path if path in _ROUTES else "other"
