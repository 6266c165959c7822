"""A line to the runner that tells at once when it is gone, and when it is back.

The supervisor keeps the runner's socket open while there is no runner, so a
new connection says nothing: it succeeds, and waits. A connection that the
runner has accepted breaks when its process dies; that is what is watched.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import unquote, urlsplit

import msgspec

_logger = logging.getLogger("bentoml.polarity")

_BEAT_S = 1.0
# A runner that does not say how it is for so long hangs, or has not started yet.
_PATIENCE_S = 10.0
_PAUSE_S = 0.1
_STARTING = "The model's process is starting."
_GONE = "The model's process is gone; it is being started again."


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
            with suppress(OSError, ValueError, asyncio.IncompleteReadError, TimeoutError):
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
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = next(line.partition(b":")[2] for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        body = await reader.readexactly(int(length))
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            return State(trouble="The model's process does not say how it is.")
        return msgspec.json.decode(body, type=State)
