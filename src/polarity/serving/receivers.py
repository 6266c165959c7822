"""Receivers of telemetry: anything that speaks OTLP, and Azure's Application Insights.

The exporters are OpenTelemetry's and Azure's own, with their own variables for
headers, certificates, timeouts and compression.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from opentelemetry.sdk._logs.export import LogRecordExporter
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricExporter
from opentelemetry.sdk.trace.export import SpanExporter

from polarity.serving.options import ReceiverOptions

# What Azure's exporter would send to Microsoft about itself, and fetch from there to configure itself.
_AZURE_SELF_REPORTS = (
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL",
    "APPLICATIONINSIGHTS_SDKSTATS_DISABLED",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED",
    "APPLICATIONINSIGHTS_OPENTELEMETRY_RESOURCE_METRIC_DISABLED",
)


class Receiver(NamedTuple):
    """The exporters for one receiver."""

    spans: SpanExporter
    logs: LogRecordExporter
    metrics: MetricExporter
    temporality: AggregationTemporality
    """Whether it wants counters as totals or as what has been added since the last time."""


def receivers(options: ReceiverOptions) -> list[Receiver]:
    """The receivers that are configured."""
    found = []
    if options.otlp:
        found.append(_otlp(options.otlp))
    if options.azure:
        found.append(_azure(options.azure))
    return found


def _otlp(endpoint: str) -> Receiver:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    def url(signal: str) -> str:
        return os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT") or f"{endpoint.rstrip('/')}/v1/{signal}"

    preference = os.environ.get("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "")
    return Receiver(
        OTLPSpanExporter(endpoint=url("traces")),
        OTLPLogExporter(endpoint=url("logs")),
        OTLPMetricExporter(endpoint=url("metrics")),
        AggregationTemporality.DELTA if preference.strip().upper() == "DELTA" else AggregationTemporality.CUMULATIVE,
    )


def _azure(connection_string: str) -> Receiver:
    for variable in _AZURE_SELF_REPORTS:
        os.environ.setdefault(variable, "true")
    from azure.monitor.opentelemetry.exporter import (
        AzureMonitorLogExporter,
        AzureMonitorMetricExporter,
        AzureMonitorTraceExporter,
    )

    # What cannot be sent is dropped: on disk, texts would outlive `python -m polarity forget`.
    given = {"connection_string": connection_string, "disable_offline_storage": True}
    return Receiver(
        AzureMonitorTraceExporter(**given),
        AzureMonitorLogExporter(**given),
        AzureMonitorMetricExporter(**given),
        AggregationTemporality.DELTA,
    )
