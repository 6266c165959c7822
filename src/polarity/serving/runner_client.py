"""The client of a runner, a process that owns the model: calls it, and notices at once when it is gone.

The supervisor keeps the runner's socket open while there is no runner, so a
new connection tells nothing: it succeeds, and waits. A connection that the
runner has accepted breaks when its process dies; that is what is watched.
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

_BEAT_S = 1.0
# A runner that does not say how it is for so long hangs, or has not started yet.
_PATIENCE_S = 10.0
_PAUSE_S = 0.1
_READ_BYTES = 65_536
_STARTING = "The model's process is starting."
_GONE = "The model's process is gone; it is being started again."
# The runner closes what has been idle for 5 s. A request on its way just then would be taken for a runner that is gone.
_IDLE_S = 2.0


class State(msgspec.Struct, frozen=True):
    """How a runner is.

    Attributes
    ----------
    trouble : str or None
        Why it does not answer; none: it does.
    precision, device : str
        What it computes with.
    """

    trouble: str | None = None
    precision: str = ""
    device: str = ""


class RunnerLink:
    """Watches one runner service.

    Parameters
    ----------
    url : str
        Where it listens: `file:///PATH` of a socket, or `http://HOST:PORT`.
    changed : callable
        Told of every change of state, on the event loop.
    """

    def __init__(self, url: str, changed: Callable[[State], None]) -> None:
        self._url = urlsplit(url)
        self._changed = changed
        self.state = State(trouble=_STARTING)
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    def lost(self) -> None:
        """Somebody else found that the runner is gone, before this line broke; if it is not, the next beat says so."""
        self._tell(State(trouble=_GONE))

    async def close(self) -> None:
        """Look no more."""
        self._watching.cancel()
        with suppress(asyncio.CancelledError):
            await self._watching

    def _tell(self, state: State) -> None:
        if state != self.state:
            if state.trouble:
                _logger.error("The runner cannot answer: %s", state.trouble)
            else:
                _logger.info("The runner is there: %s, %s.", state.device, state.precision)
            self.state = state
            self._changed(state)

    async def _watch(self) -> None:
        while True:
            with suppress(OSError, ValueError, asyncio.IncompleteReadError, TimeoutError, httptools.HttpParserError):
                await self._follow()
            if not self.state.trouble:
                self._tell(State(trouble=_GONE))
            await asyncio.sleep(_PAUSE_S)

    async def _follow(self) -> None:
        """Ask how the runner is, again and again, until the connection breaks."""
        async with asyncio.timeout(_PATIENCE_S):
            reader, writer = await self._connect()
        try:
            while True:
                async with asyncio.timeout(_PATIENCE_S):
                    self._tell(await self._ask(reader, writer))
                with suppress(TimeoutError):
                    # Nothing more comes on this connection but its end.
                    await asyncio.wait_for(reader.read(1), _BEAT_S)
                    return
        finally:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._url.scheme == "file":
            return await asyncio.open_unix_connection(unquote(self._url.path))
        return await asyncio.open_connection(self._url.hostname, self._url.port)

    @staticmethod
    async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> State:
        writer.write(
            b"POST /state HTTP/1.1\r\nHost: runner\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        )
        answer = _Answer()
        while not answer.complete:
            if not (data := await reader.read(_READ_BYTES)):
                raise asyncio.IncompleteReadError(bytes(answer.body), None)
            answer.feed(data)
        if answer.status != 200:
            return State(trouble="The model's process does not say how it is.")
        return msgspec.json.decode(answer.body, type=State)


class _Answer:
    """One answer of a runner, as httptools reads it."""

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
    """The connection to the runner broke, or there is none."""


class RunnerClient:
    """Calls a runner's methods over HTTP.

    BentoML's own client closes its session every hundred calls, and with it
    whatever is on its way at that moment.
    """

    def __init__(self, url: str, *, timeout_s: float) -> None:
        parts = urlsplit(url)
        local = parts.scheme == "file"
        self._session = aiohttp.ClientSession(
            "http://runner" if local else url,
            connector=(
                aiohttp.UnixConnector(unquote(parts.path), keepalive_timeout=_IDLE_S)
                if local
                else aiohttp.TCPConnector(keepalive_timeout=_IDLE_S)
            ),
            timeout=aiohttp.ClientTimeout(timeout_s),
            headers={"Content-Type": "application/json"},
        )

    async def __call__(self, method: str, texts: list[str]) -> Rows:
        """The rows that `method` has for `texts`.

        Raises
        ------
        RunnerLost
            If the runner cannot be reached.
        ServiceUnavailable
            If it refuses, or needs too long.
        """
        try:
            async with self._session.post(f"/{method}", data=msgspec.json.encode({"texts": texts})) as response:
                body = await response.read()
        except TimeoutError as error:
            raise ServiceUnavailable("The model's process needs too long.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise RunnerLost(f"The model's process does not answer: {error!r}") from error
        if response.status in (429, 503, 504):
            raise ServiceUnavailable(f"The model's process answers {response.status}.")
        if response.status != 200:
            raise RuntimeError(f"The model's process answers {response.status}; its log says why.")
        return msgspec.json.decode(body, type=Rows)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


class RemoteModel:
    """What a batcher runs: the rows of a runner.

    Parameters
    ----------
    url : str
        Where the runner listens.
    call : async callable
        A method's rows for many texts, by one call of the runner; `RunnerClient` is one.
    changed : callable, optional
        Told of every change of the runner's state.
    """

    def __init__(
        self,
        url: str,
        call: Call,
        *,
        changed: Callable[[State], None] | None = None,
    ) -> None:
        self._hop = call
        self._tell = changed
        self._calls: set[asyncio.Future[Rows]] = set()
        self._link = RunnerLink(url, self._changed)

    @property
    def trouble(self) -> str | None:
        """Why the runner does not answer; none: it does."""
        return self._link.state.trouble

    async def run(self, texts: list[str]) -> Rows:
        """Probabilities of `texts` in the order of the manifest's labels.

        Raises
        ------
        ServiceUnavailable
            If the runner is away, or leaves while it works.
        """
        return await self._call("predict", texts)

    async def explain(self, texts: list[str]) -> Rows:
        """What `Predictor.explain` says; raises as `run` does."""
        return await self._call("explain", texts)

    async def _call(self, method: str, texts: list[str]) -> Rows:
        if self.trouble:
            raise ServiceUnavailable(self.trouble)
        call = asyncio.ensure_future(self._hop(method, texts))
        self._calls.add(call)
        try:
            return await call
        except RunnerLost:
            self._link.lost()
            raise
        except asyncio.CancelledError:
            if not self.trouble:
                raise
            raise ServiceUnavailable(self.trouble) from None
        finally:
            self._calls.discard(call)

    def _changed(self, state: State) -> None:
        if state.trouble:
            # What is on its way may wait for a process that will not come.
            for call in self._calls:
                call.cancel()
        if self._tell is not None:
            self._tell(state)

    async def close(self) -> None:
        """Let go of the runner."""
        await self._link.close()
