"""The model in a process of its own: batches go there in one call each, and fail at once where nobody is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import unquote, urlsplit

import aiohttp
import msgspec

from polarity.errors import ServiceUnavailable
from polarity.serving.batcher import Rows
from polarity.serving.link import RunnerLink, State

Call = Callable[[str, list[str]], Awaitable[Rows]]

# The runner closes what has been idle for 5 s. A request on its way just then would be taken for a runner that is gone.
_IDLE_S = 2.0


class RunnerLost(ServiceUnavailable):
    """The connection to the runner broke, or there is none."""


class Hop:
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
        A method's rows for many texts, by one call of the runner; `Hop` is one.
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
