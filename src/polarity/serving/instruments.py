"""The Prometheus metrics of this process as OpenTelemetry's, read only when they are sent.

Counters and gauges are observable instruments. OpenTelemetry has no observable
histogram, so the histograms' buckets are added to the data on the way to the
exporter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import Counter as CounterInstrument
from opentelemetry.sdk.metrics import Histogram as HistogramInstrument
from opentelemetry.sdk.metrics import ObservableCounter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.metrics.export import Histogram as HistogramData
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics_core import Metric as Family

Labels = tuple[tuple[str, str], ...]


def observe(meter: Meter, families: Iterable[Counter | Gauge | Histogram]) -> None:
    """Create an observable instrument for each counter and gauge."""
    for family in families:
        if isinstance(family, Histogram):
            continue
        (collected,) = family.collect()
        if isinstance(family, Counter):
            # prometheus_client takes the suffix from the name of the family.
            meter.create_observable_counter(
                f"{collected.name}_total", [_observer(family, "_total")], description=collected.documentation
            )
        else:
            meter.create_observable_gauge(collected.name, [_observer(family, "")], description=collected.documentation)


def _observer(family: Counter | Gauge, suffix: str) -> Callable[[CallbackOptions], Iterator[Observation]]:
    def observations(_: CallbackOptions) -> Iterator[Observation]:
        for collected in family.collect():
            for sample in collected.samples:
                if sample.name == collected.name + suffix:
                    yield Observation(sample.value, sample.labels)

    return observations


class HistogramExporter(MetricExporter):
    """Adds Prometheus histograms to what another exporter sends.

    Parameters
    ----------
    exporter : MetricExporter
        Sends the data.
    temporality : AggregationTemporality
        Whether counters and histograms are sent as totals or as what has been added since the last time.
    histograms : sequence of Histogram
    """

    def __init__(
        self, exporter: MetricExporter, temporality: AggregationTemporality, histograms: Sequence[Histogram]
    ) -> None:
        super().__init__(
            preferred_temporality=dict.fromkeys(
                (CounterInstrument, HistogramInstrument, ObservableCounter), temporality
            )
        )
        self._exporter = exporter
        self._temporality = temporality
        self._histograms = histograms
        self._started_ns = time.time_ns()
        self._sent: dict[tuple[str, Labels], tuple[list[float], float]] = {}

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        """Send `metrics_data` and the histograms."""
        now_ns = time.time_ns()
        points = [self._metric(family, now_ns) for one in self._histograms for family in one.collect()]
        whole = MetricsData([_with(resource, points) for resource in metrics_data.resource_metrics])
        if self._temporality is AggregationTemporality.DELTA:
            self._started_ns = now_ns
        return self._exporter.export(whole, timeout_millis=timeout_millis, **kwargs)

    def _metric(self, family: Family, now_ns: int) -> Metric:
        points = [
            self._point(family.name, labels, bounds, counts, total, now_ns)
            for labels, bounds, counts, total in _series(family)
        ]
        return Metric(family.name, family.documentation, "", HistogramData(points, self._temporality))

    def _point(
        self, name: str, labels: Labels, bounds: list[float], counts: list[float], total: float, now_ns: int
    ) -> HistogramDataPoint:
        if self._temporality is AggregationTemporality.DELTA:
            before, total_before = self._sent.get((name, labels), ([0.0] * len(counts), 0.0))
            self._sent[name, labels] = counts, total
            counts, total = [now - then for now, then in zip(counts, before, strict=True)], total - total_before
        each = [int(count - below) for count, below in zip(counts, (0.0, *counts), strict=False)]
        # The extremes are not known.
        return HistogramDataPoint(
            attributes=dict(labels),
            start_time_unix_nano=self._started_ns,
            time_unix_nano=now_ns,
            count=int(counts[-1]),
            sum=total,
            bucket_counts=each,
            explicit_bounds=bounds,
            min=None,  # type: ignore[arg-type]
            max=None,  # type: ignore[arg-type]
        )

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Let the other exporter send what it holds back."""
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Shut the other exporter down."""
        self._exporter.shutdown(timeout_millis)


def _series(family: Family) -> Iterator[tuple[Labels, list[float], list[float], float]]:
    """For each combination of labels: bounds (without infinity), cumulative counts (with it), and the sum."""
    series: dict[Labels, tuple[list[float], list[float], list[float]]] = {}
    for sample in family.samples:
        labels = tuple((name, value) for name, value in sample.labels.items() if name != "le")
        bounds, counts, total = series.setdefault(labels, ([], [], []))
        if sample.name.endswith("_bucket"):
            bounds.append(float(sample.labels["le"]))
            counts.append(sample.value)
        elif sample.name.endswith("_sum"):
            total.append(sample.value)
    for labels, (bounds, counts, total) in series.items():
        yield labels, bounds[:-1], counts, total[0]


def _with(resource: ResourceMetrics, metrics: list[Metric]) -> ResourceMetrics:
    scopes = [
        ScopeMetrics(scope.scope, [*scope.metrics, *metrics], scope.schema_url) for scope in resource.scope_metrics
    ]
    return ResourceMetrics(resource.resource, scopes, resource.schema_url)
