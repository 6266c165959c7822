"""An ONNX graph that maps token ids to logits, run in batches with little padding."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from polarity.inference.placement import CUDA, Placement
from polarity.text.tweets import FloatArray, IntArray


class Session:
    """A graph with the inputs `ids` (batch, tokens) and `lengths` (batch,), both int32, and the output `logits`.

    Parameters
    ----------
    path : Path
        The ONNX file.
    placement : Placement
        The device to run on.

    Raises
    ------
    ServiceUnavailable
        If the placement requires a GPU that is not available.
    """

    def __init__(self, path: Path, *, placement: Placement) -> None:
        import onnxruntime

        if placement.kind == "gpu":
            # CUDA's libraries are installed as Python packages, where only this call looks for them
            onnxruntime.preload_dlls()
            placement.require([name for name in onnxruntime.get_available_providers() if name == CUDA])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = placement.threads or len(os.sched_getaffinity(0))
        options.log_severity_level = 3
        # between two batches, spinning threads would take cores from other processes
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(path, options, providers=placement.providers)
        # ONNX Runtime falls back to the CPU with only a line in the log.
        placement.require(self._session.get_providers())
        self._batch_tokens = placement.batch_tokens
        self._n_labels = int(self._session.get_outputs()[0].shape[1])

    def logits(self, texts: Sequence[Sequence[int]]) -> FloatArray:
        """Logits of shape (n_texts, n_labels) for texts given as token ids, at least one id each."""
        lengths = np.array([len(text) for text in texts], dtype=np.int32)
        logits = np.empty((len(texts), self._n_labels), dtype=np.float32)
        for rows in _batches(lengths, self._batch_tokens):
            ids = np.zeros((len(rows), lengths[rows].max()), dtype=np.int32)
            for line, row in zip(ids, rows, strict=True):
                line[: lengths[row]] = texts[row]
            (logits[rows],) = self._session.run(None, {"ids": ids, "lengths": lengths[rows]})
        return logits


def _batches(lengths: npt.NDArray[np.int32], max_tokens: int) -> Iterator[IntArray]:
    """Positions of texts of similar length, shortest first; at most `max_tokens` per batch, padding included."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        # as many as fit when padded to the length of the last one included
        sizes = lengths[order[start:]] * np.arange(1, len(order) - start + 1)
        count = max(1, int(np.searchsorted(sizes, max_tokens, side="right")))
        yield order[start : start + count]
        start += count
