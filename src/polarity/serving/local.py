"""The model in the server's own process: on the event loop, or in a thread."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from polarity.inference.predictor import Predictor
from polarity.serving.batcher import Rows


class LocalModel:
    """Runs a predictor for a batcher.

    Parameters
    ----------
    predictor : Predictor
    inline : bool
        Run batches on the event loop instead of in a thread (`ExecutionProfile.inline`).
    """

    def __init__(self, predictor: Predictor, *, inline: bool) -> None:
        self._predictor = predictor
        self.problem: str | None = None
        self._thread = None if inline else ThreadPoolExecutor(1, thread_name_prefix="model")

    async def run(self, texts: list[str]) -> Rows:
        """Probabilities of `texts`, in the order of the manifest's labels."""
        if self._thread is None:
            return self._rows(texts)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._rows, texts)

    async def explain(self, texts: list[str]) -> Rows:
        """The result of `Predictor.explain`."""
        return self._predictor.explain(texts) or []

    def _rows(self, texts: list[str]) -> Rows:
        rows: Rows = self._predictor(texts).tolist()
        return rows

    async def close(self) -> None:
        """Wait for the running batch to finish."""
        if self._thread is not None:
            self._thread.shutdown()
