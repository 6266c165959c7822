"""The server's Prometheus metrics: requests, refusals, and where the time is spent.

Metrics are per process; with several workers prometheus_client sums them from
its files (PROMETHEUS_MULTIPROC_DIR, which BentoML sets). Every change of a value
then looks up the process id and packs the value into the file, so what is counted
and measured is gathered for a tenth of a second, and passed on before each scrape.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter as Counts
from collections import defaultdict
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
_mirrored = Counter(
    "polarity_mirrored_texts_total",
    "Texts for the challenger: recorded with its answer, dropped because too many were waiting, failed; and texts that "
    "another server mirrored to this one, unrecorded.",
    ["fate"],
)
_challenged = Counter(
    "polarity_challenged_requests_total",
    "Requests of clients that the challenger answers: answered by it, or covered by the served model.",
    ["fate"],
)
_model = Gauge(
    "polarity_model_info",
    "1 for the served model.",
    ["family", "version", "bento", "precision"],
    multiprocess_mode="mostrecent",
)
_follow_problem = Gauge(
    "polarity_follow_problem",
    "1 if the Bento that the store's `latest` names is not served; GET /status says why.",
    multiprocess_mode="mostrecent",
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
    _mirrored,
    _challenged,
    _model,
    _follow_problem,
)
"""Every metric of this process, for receivers other than Prometheus."""

_gathered: Counts[Any] = Counts()
_observed: defaultdict[Histogram, list[float]] = defaultdict(list)
_served: tuple[str, str, str, str] | None = None


def _count(child: Any, number: int = 1) -> None:
    if not _gathered:
        asyncio.get_running_loop().call_later(_GATHER_S, flush)
    _gathered[child] += number


def _observe(histogram: Histogram, value: float, times: int = 1) -> None:
    """Observe a value with the next flush, which something that is counted with it has scheduled."""
    _observed[histogram] += [value] * times


def flush() -> None:
    """Pass on to Prometheus what has been gathered."""
    for child, count in _gathered.items():
        child.inc(count)
    _gathered.clear()
    for histogram, values in _observed.items():
        observe_all(histogram, values)
    _observed.clear()


def observe_all(histogram: Histogram, values: list[float]) -> None:
    """Observe many values for little more than the price of one, which the library has no function for."""
    histogram._sum.inc(sum(values))
    for place, count in Counts([bisect_left(histogram._upper_bounds, value) for value in values]).items():
        histogram._buckets[place].inc(count)


@cache
def _child(family: Counter | Histogram, *labels: str) -> Any:
    return family.labels(*labels)


def answered(route: str, status: int, seconds: float, requests: int = 1) -> None:
    """Count requests that took `seconds`. `route` is one of the contract's routes, never a path that a client sent."""
    _count(_child(_requests, route, str(status)), requests)
    if status != 429:
        _observe(_child(_request_seconds, route), seconds, requests)


def refused(reason: str, number: int = 1) -> None:
    """Count refused texts or requests."""
    _count(_child(_refusals, reason), number)


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


def mirrored(fate: str, texts: int) -> None:
    """Count texts for the challenger."""
    _child(_mirrored, fate).inc(texts)


def unrecorded() -> None:
    """Count one text that another server mirrored to this one."""
    _count(_child(_mirrored, "unrecorded"))


def challenged(seconds: float | None) -> None:
    """Count one request for the challenger, by its duration; None: the served model answered it."""
    _child(_challenged, "covered" if seconds is None else "answered").inc()


def serving(*, family: str, version: str, bento: str, precision: str) -> None:
    """Set which model is served; the one before no longer is."""
    global _served  # noqa: PLW0603
    labels = (family, version, bento, precision)
    if _served is not None and _served != labels:
        _model.labels(*_served).set(0)
    _model.labels(*labels).set(1)
    _served = labels


def following(*, problem: bool) -> None:
    """Set whether the Bento that is followed cannot be served."""
    _follow_problem.set(problem)


class BatchMetrics:
    """A batcher's `Watch` that feeds the Prometheus metrics."""

    def dispatched(self, batch: BatchDispatch) -> None:
        _count(_child(_batches, batch.reason))
        _observe(_batch_texts, batch.size)
        _observe(_queue_seconds, batch.waited_s)

    def completed(self, size: int, model_s: float) -> None:
        _observe(_model_seconds, model_s)

    def depth(self, waiting: int) -> None:
        _waiting.set(waiting)
