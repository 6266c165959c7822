"""In-process prediction latency of a single text, after warm-up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Self

import numpy as np

from polarity.evaluation.machine import Machine
from polarity.inference.predictor import Predict


@dataclass(frozen=True)
class Latency:
    """Latency in milliseconds of single-text calls on a machine: median and 95th percentile of `calls` calls."""

    p50_ms: float
    p95_ms: float
    calls: int
    machine: Machine

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Rebuild a latency from its fields as a dictionary."""
        return cls(**{**record, "machine": Machine(**record["machine"])})


def measure_latency(
    predict: Predict,
    texts: Sequence[str],
    *,
    seed: int,
    machine: Machine,
    warm_up_calls: int = 10,
    calls: int = 200,
    min_calls: int = 30,
    budget_s: float = 5.0,
) -> Latency:
    """Time `predict` on texts drawn from `texts`, one per call, on this `machine`.

    Stops early once `budget_s` seconds have passed and at least `min_calls` calls were made.

    Raises
    ------
    ValueError
        If `texts` is empty.
    """
    if not len(texts):
        raise ValueError("Got no texts; at least one is needed to time a prediction.")
    drawn = [[texts[i]] for i in np.random.default_rng(seed).integers(len(texts), size=warm_up_calls + calls)]
    for one in drawn[:warm_up_calls]:
        predict(one)
    times_ms: list[float] = []
    started = perf_counter()
    for one in drawn[warm_up_calls:]:
        before = perf_counter()
        predict(one)
        after = perf_counter()
        times_ms.append((after - before) * 1000)
        if after - started > budget_s and len(times_ms) >= min_calls:
            break
    p50, p95 = np.quantile(times_ms, [0.5, 0.95])
    return Latency(p50_ms=float(p50), p95_ms=float(p95), calls=len(times_ms), machine=machine)
