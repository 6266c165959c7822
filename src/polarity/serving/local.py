"""The model in the server's own process: on the event loop itself, or in a thread beside it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from polarity.serving.batcher import Rows
from polarity.serving.predictor import Predictor


@dataclass(frozen=True)
class Form:
    """How a family is best run, found by measurement (docs/serving.md).

    Attributes
    ----------
    inline : bool
        Run batches on the event loop. Pays for a model of Python code that takes a fraction of a millisecond a
        text: a thread would have to share the interpreter with the loop, and each change of hands costs more.
        A model that leaves the interpreter while it computes belongs in a thread.
    max_batch : int
        Texts in a call. Inline, this bounds the time that the loop is busy with nothing else; elsewhere, more texts
        find more of their own length among them, and less is padded.
    room : int
        Requests that may always wait.
    """

    inline: bool
    max_batch: int
    room: int


FORMS = {"logistic": Form(inline=True, max_batch=32, room=64)}
_NEURAL = Form(inline=False, max_batch=256, room=128)


def form_of(family: str) -> Form:
    """How a family runs."""
    return FORMS.get(family, _NEURAL)


class LocalModel:
    """What a batcher runs: the rows of a predictor."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.trouble: str | None = None
        form = form_of(predictor.manifest.family)
        self._thread = None if form.inline else ThreadPoolExecutor(1, thread_name_prefix="model")

    async def run(self, texts: list[str]) -> Rows:
        """Probabilities of `texts` in the order of the manifest's labels."""
        if self._thread is None:
            return self._rows(texts)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._rows, texts)

    async def explain(self, texts: list[str]) -> Rows:
        """What `Predictor.explain` says."""
        return self._predictor.explain(texts) or []

    def _rows(self, texts: list[str]) -> Rows:
        rows: Rows = self._predictor(texts).tolist()
        return rows

    async def close(self) -> None:
        """Wait for the batch under way."""
        if self._thread is not None:
            self._thread.shutdown()
