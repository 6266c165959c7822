"""What a server tells Prometheus: who asked, who was refused, and where the time went.

The families are the process's; with several workers prometheus_client adds
them up from its files (PROMETHEUS_MULTIPROC_DIR, which BentoML sets).
"""

from __future__ import annotations

from functools import cache
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from polarity.serving.batcher import Left

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

_requests = Counter("polarity_requests_total", "Requests by route and status.", ["route", "status"])
_request_seconds = Histogram(
    "polarity_request_seconds", "From the request's head to its answer.", ["route"], buckets=_SECONDS
)
_refusals = Counter("polarity_refusals_total", "Texts and requests that were refused, by reason.", ["reason"])
_predictions = Counter("polarity_predictions_total", "Texts that were answered, by sentiment.", ["sentiment"])
_queue_seconds = Histogram(
    "polarity_queue_seconds", "Time of a request in the queue before the model took it.", buckets=_SECONDS
)
_waiting = Gauge("polarity_waiting_texts", "Texts in the queue when a batch left.", multiprocess_mode="livesum")
_batches = Counter(
    "polarity_batches_total",
    "Batches by why they left: the model was idle, was freed, or the batch was full.",
    ["reason"],
)
_batch_texts = Histogram("polarity_batch_texts", "Texts in a batch.", buckets=_TEXTS)
_model_seconds = Histogram("polarity_model_seconds", "Time of a batch in the model.", buckets=_SECONDS)
_log_rows = Gauge(
    "polarity_log_rows", "Rows of the prediction log by what became of them.", ["fate"], multiprocess_mode="livesum"
)
_model = Gauge(
    "polarity_model_info",
    "1 for the model that is served.",
    ["family", "version", "bento", "precision"],
    multiprocess_mode="max",
)


@cache
def _request_children(route: str, status: int) -> tuple[Any, Any]:
    return _requests.labels(route, str(status)), _request_seconds.labels(route)


@cache
def _sentiment_child(sentiment: str) -> Any:
    return _predictions.labels(sentiment)


@cache
def _reason_child(reason: str) -> Any:
    return _batches.labels(reason)


def answered(route: str, status: int, seconds: float) -> None:
    """Count one request. `route` is one of the contract's, never what the client wrote."""
    count, histogram = _request_children(route, status)
    count.inc()
    histogram.observe(seconds)


def refused(reason: str) -> None:
    """Count one refused text or request."""
    _refusals.labels(reason).inc()


def predicted(sentiment: str) -> None:
    """Count one answered text."""
    _sentiment_child(sentiment).inc()


def logged(written: int, dropped: int) -> None:
    """Tell how many rows of the prediction log were written and dropped so far."""
    _log_rows.labels("written").set(written)
    _log_rows.labels("dropped").set(dropped)


def serving(*, family: str, version: str, bento: str, precision: str) -> None:
    """Tell which model is served."""
    _model.labels(family, version, bento, precision).set(1)


class BatchMetrics:
    """A batcher's `Watch` that tells Prometheus."""

    def left(self, batch: Left) -> None:
        _reason_child(batch.reason).inc()
        _batch_texts.observe(batch.size)
        for waited_s in batch.waited_s:
            _queue_seconds.observe(waited_s)

    def ran(self, size: int, model_s: float) -> None:
        _model_seconds.observe(model_s)

    def depth(self, waiting: int) -> None:
        _waiting.set(waiting)
