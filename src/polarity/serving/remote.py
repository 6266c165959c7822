"""The model in a process of its own: batches go there in one call each, and fail at once where nobody is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from polarity.errors import ServiceUnavailable
from polarity.serving.batcher import Rows
from polarity.serving.link import RunnerLink, State


class RemoteModel:
    """What a batcher runs: the rows of a runner.

    Parameters
    ----------
    url : str
        Where the runner listens.
    predict : async callable
        Rows of many texts, by one call of the runner.
    away : tuple of exception types
        What `predict` raises when the runner cannot be reached.
    changed : callable, optional
        Told of every change of the runner's state.
    """

    def __init__(
        self,
        url: str,
        predict: Callable[[list[str]], Awaitable[Any]],
        *,
        away: tuple[type[Exception], ...],
        changed: Callable[[State], None] | None = None,
    ) -> None:
        self._predict = predict
        self._away = away
        self._tell = changed
        self._calls: set[asyncio.Future[Any]] = set()
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
        if self.trouble:
            raise ServiceUnavailable(self.trouble)
        call = asyncio.ensure_future(self._predict(texts))
        self._calls.add(call)
        try:
            rows: Rows = (await call).tolist()
        except asyncio.CancelledError:
            if not self.trouble:
                raise
            raise ServiceUnavailable(self.trouble) from None
        except self._away as error:
            raise ServiceUnavailable(f"The model's process does not answer: {error!r}") from error
        finally:
            self._calls.discard(call)
        return rows

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
