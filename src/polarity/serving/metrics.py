"""The server's Prometheus metrics: requests, refusals, and where the time is spent.

Metrics are per process; with several workers prometheus_client sums them from
its files (PROMETHEUS_MULTIPROC_DIR, which BentoML sets). Every counter increment
then looks up the process id, so increments are buffered for a tenth of a second
and flushed before each scrape.
"""

from __future__ import annotations

import asyncio
from collections import Counter as Counts
from functools import cache
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from polarity.record.prediction_log import PredictionLog
from polarity.serving.batcher import BatchDispatch

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

_GATHER_S = 0.1

_requests = Counter("polarity_requests_total", "Requests by route and status.", ["route", "status"])
_request_seconds = Histogram(
    "polarity_request_seconds",
    "Time from the request's head to its response, without overload refusals (429).",
    ["route"],
    buckets=_SECONDS,
)
_refusals = Counter("polarity_refusals_total", "Refused texts and requests, by reason.", ["reason"])
_predictions = Counter("polarity_predictions_total", "Answered texts, by sentiment.", ["sentiment"])
_queue_seconds = Histogram(
    "polarity_queue_seconds", "Age of a batch's oldest request when it was dispatched.", buckets=_SECONDS
)
_waiting = Gauge(
    "polarity_waiting_texts", "Texts still queued after a batch was dispatched.", multiprocess_mode="livesum"
)
_batches = Counter(
    "polarity_batches_total",
    "Batches by reason for dispatch: the model was idle, was freed, or the batch was full.",
    ["reason"],
)
_batch_texts = Histogram("polarity_batch_texts", "Texts in a batch.", buckets=_TEXTS)
_model_seconds = Histogram("polarity_model_seconds", "Time the model took for a batch.", buckets=_SECONDS)
_log_rows = Gauge(
    "polarity_log_rows",
    "Rows of the prediction log: written, dropped before they were written, evicted to make room.",
    ["fate"],
    multiprocess_mode="livesum",
)
_spool_bytes = Gauge("polarity_log_spool_bytes", "Size of the local file's content.", multiprocess_mode="livemax")
_unshipped = Gauge(
    "polarity_log_unshipped_rows", "Rows that the database does not have yet.", multiprocess_mode="livemax"
)
_unshipped_seconds = Gauge("polarity_log_unshipped_seconds", "Age of the oldest of them.", multiprocess_mode="livemax")
_model = Gauge(
    "polarity_model_info",
    "1 for the served model.",
    ["family", "version", "bento", "precision"],
    multiprocess_mode="max",
)


FAMILIES: tuple[Counter | Gauge | Histogram, ...] = (
    _requests,
    _request_seconds,
    _refusals,
    _predictions,
    _queue_seconds,
    _waiting,
    _batches,
    _batch_texts,
    _model_seconds,
    _log_rows,
    _spool_bytes,
    _unshipped,
    _unshipped_seconds,
    _model,
)
"""Every metric of this process, for receivers other than Prometheus."""

_gathered: Counts[Any] = Counts()


def _count(child: Any) -> None:
    if not _gathered:
        asyncio.get_running_loop().call_later(_GATHER_S, flush)
    _gathered[child] += 1


def flush() -> None:
    """Pass buffered increments on to Prometheus."""
    for child, count in _gathered.items():
        child.inc(count)
    _gathered.clear()


@cache
def _child(family: Counter | Histogram, *labels: str) -> Any:
    return family.labels(*labels)


def answered(route: str, status: int, seconds: float) -> None:
    """Count one request. `route` is one of the contract's routes, never a path that the client sent."""
    _count(_child(_requests, route, str(status)))
    if status != 429:
        _child(_request_seconds, route).observe(seconds)


def refused(reason: str) -> None:
    """Count one refused text or request."""
    _count(_child(_refusals, reason))


def predicted(sentiment: str) -> None:
    """Count one answered text."""
    _count(_child(_predictions, sentiment))


def logged(log: PredictionLog) -> None:
    """Set how far the prediction log is, from the recorder's last receipt."""
    _log_rows.labels("written").set(log.written)
    _log_rows.labels("dropped").set(log.dropped)
    _log_rows.labels("evicted").set(log.receipt.evicted)
    _spool_bytes.set(log.receipt.bytes_used)
    _unshipped.set(log.receipt.unshipped)
    _unshipped_seconds.set(log.receipt.unshipped_s)


def serving(*, family: str, version: str, bento: str, precision: str) -> None:
    """Set which model is served."""
    _model.labels(family, version, bento, precision).set(1)


class BatchMetrics:
    """A batcher's `Watch` that feeds the Prometheus metrics."""

    def dispatched(self, batch: BatchDispatch) -> None:
        _count(_child(_batches, batch.reason))
        _batch_texts.observe(batch.size)
        _queue_seconds.observe(batch.waited_s)

    def completed(self, size: int, model_s: float) -> None:
        _model_seconds.observe(model_s)

    def depth(self, waiting: int) -> None:
        _waiting.set(waiting)
