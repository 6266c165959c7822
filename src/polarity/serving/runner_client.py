"""The client of a runner, the process that owns the model: calls it, and detects immediately when it dies.

The supervisor keeps the runner's socket open even when no runner is running, so
a new connection proves nothing: it succeeds and then waits. A connection that
the runner has accepted breaks when its process dies, so one is kept open and
watched.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.parse import unquote, urlsplit

import aiohttp
import httptools
import msgspec

from polarity.errors import ServiceUnavailable
from polarity.serving.batcher import Rows

_logger = logging.getLogger("bentoml.polarity")

Call = Callable[[str, list[str]], Awaitable[Rows]]

_HEARTBEAT_S = 1.0
# A runner that does not report its state for this long is hanging or has not started yet.
_TIMEOUT_S = 10.0
_RECONNECT_DELAY_S = 0.1
_READ_BYTES = 65_536
_STARTING = "The model process is starting."
_GONE = "The model process is gone and is being restarted."
# The runner closes connections that are idle for 5 s; a request sent at that moment would look like a dead runner.
_KEEP_ALIVE_S = 2.0


class State(msgspec.Struct, frozen=True):
    """The state of a runner.

    Attributes
    ----------
    problem : str or None
        Why it cannot answer; `None` if it can.
    precision, device : str
        The precision and the device that it computes with.
    """

    problem: str | None = msgspec.field(default=None, name="trouble")
    precision: str = ""
    device: str = ""


class RunnerLink:
    """Watches one runner service.

    Parameters
    ----------
    url : str
        Where it listens: `file:///PATH` of a socket, or `http://HOST:PORT`.
    changed : callable
        Called with the new state on every change, on the event loop.
    """

    def __init__(self, url: str, changed: Callable[[State], None]) -> None:
        self._url = urlsplit(url)
        self._changed = changed
        self.state = State(problem=_STARTING)
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    def report_lost(self) -> None:
        """Mark the runner as gone because a call to it failed; the next heartbeat corrects this if it is alive."""
        self._update(State(problem=_GONE))

    async def close(self) -> None:
        """Stop watching."""
        self._watching.cancel()
        with suppress(asyncio.CancelledError):
            await self._watching

    def _update(self, state: State) -> None:
        if state != self.state:
            if state.problem:
                _logger.error("The runner is not available: %s", state.problem)
            else:
                _logger.info("The runner is available on %s in %s.", state.device, state.precision)
            self.state = state
            self._changed(state)

    async def _watch(self) -> None:
        while True:
            with suppress(OSError, ValueError, asyncio.IncompleteReadError, TimeoutError, httptools.HttpParserError):
                await self._poll()
            if not self.state.problem:
                self._update(State(problem=_GONE))
            await asyncio.sleep(_RECONNECT_DELAY_S)

    async def _poll(self) -> None:
        """Request the runner's state repeatedly until the connection breaks."""
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await self._connect()
        try:
            while True:
                async with asyncio.timeout(_TIMEOUT_S):
                    self._update(await self._request_state(reader, writer))
                with suppress(TimeoutError):
                    # The only thing left to read from this connection is its end.
                    await asyncio.wait_for(reader.read(1), _HEARTBEAT_S)
                    return
        finally:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._url.scheme == "file":
            return await asyncio.open_unix_connection(unquote(self._url.path))
        return await asyncio.open_connection(self._url.hostname, self._url.port)

    @staticmethod
    async def _request_state(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> State:
        writer.write(
            b"POST /state HTTP/1.1\r\nHost: runner\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        )
        answer = _Response()
        while not answer.complete:
            if not (data := await reader.read(_READ_BYTES)):
                raise asyncio.IncompleteReadError(bytes(answer.body), None)
            answer.feed(data)
        if answer.status != 200:
            return State(problem=f"The model process answered the state request with status {answer.status}.")
        return msgspec.json.decode(answer.body, type=State)


class _Response:
    """One response of a runner, as httptools parses it."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.complete = False
        self._parser = httptools.HttpResponseParser(self)

    @property
    def status(self) -> int:
        return int(self._parser.get_status_code())

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


class RunnerLost(ServiceUnavailable):
    """The connection to the runner broke or could not be established."""


class RunnerClient:
    """Calls a runner's methods over HTTP.

    BentoML's own client closes its session every hundred calls, together with any
    call in flight at that moment.
    """

    def __init__(self, url: str, *, timeout_s: float) -> None:
        parts = urlsplit(url)
        local = parts.scheme == "file"
        self._session = aiohttp.ClientSession(
            "http://runner" if local else url,
            connector=(
                aiohttp.UnixConnector(unquote(parts.path), keepalive_timeout=_KEEP_ALIVE_S)
                if local
                else aiohttp.TCPConnector(keepalive_timeout=_KEEP_ALIVE_S)
            ),
            timeout=aiohttp.ClientTimeout(timeout_s),
            headers={"Content-Type": "application/json"},
        )

    async def __call__(self, method: str, texts: list[str]) -> Rows:
        """The rows that the runner's `method` returns for `texts`.

        Raises
        ------
        RunnerLost
            If the runner cannot be reached.
        ServiceUnavailable
            If it refuses or times out.
        """
        try:
            async with self._session.post(f"/{method}", data=msgspec.json.encode({"texts": texts})) as response:
                body = await response.read()
        except TimeoutError as error:
            raise ServiceUnavailable("The model process did not answer in time.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise RunnerLost(f"The model process does not answer: {error!r}") from error
        if response.status in (429, 503, 504):
            raise ServiceUnavailable(f"The model process answered with status {response.status}.")
        if response.status != 200:
            raise RuntimeError(f"The model process answered with status {response.status}; see its log.")
        return msgspec.json.decode(body, type=Rows)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


class RemoteModel:
    """Runs batches on a runner for a batcher.

    Parameters
    ----------
    url : str
        Where the runner listens.
    call : async callable
        Calls a method of the runner for many texts and returns its rows, e.g. a `RunnerClient`.
    changed : callable, optional
        Called with the runner's new state on every change.
    """

    def __init__(
        self,
        url: str,
        call: Call,
        *,
        changed: Callable[[State], None] | None = None,
    ) -> None:
        self._call_runner = call
        self._on_change = changed
        self._calls: set[asyncio.Future[Rows]] = set()
        self._link = RunnerLink(url, self._changed)

    @property
    def problem(self) -> str | None:
        """Why the runner cannot answer; `None` if it can."""
        return self._link.state.problem

    async def run(self, texts: list[str]) -> Rows:
        """Probabilities of `texts`, in the order of the manifest's labels.

        Raises
        ------
        ServiceUnavailable
            If the runner is unavailable or dies during the call.
        """
        return await self._call("predict", texts)

    async def explain(self, texts: list[str]) -> Rows:
        """The result of `Predictor.explain`; raises as `run` does."""
        return await self._call("explain", texts)

    async def _call(self, method: str, texts: list[str]) -> Rows:
        if self.problem:
            raise ServiceUnavailable(self.problem)
        call = asyncio.ensure_future(self._call_runner(method, texts))
        self._calls.add(call)
        try:
            return await call
        except RunnerLost:
            self._link.report_lost()
            raise
        except asyncio.CancelledError:
            if not self.problem:
                raise
            raise ServiceUnavailable(self.problem) from None
        finally:
            self._calls.discard(call)

    def _changed(self, state: State) -> None:
        if state.problem:
            # Calls in flight might otherwise wait for a process that no longer exists.
            for call in self._calls:
                call.cancel()
        if self._on_change is not None:
            self._on_change(state)

    async def close(self) -> None:
        """Disconnect from the runner."""
        await self._link.close()
