"""Telemetry for receivers elsewhere: sampled requests as spans, negative answers as log records, and the metrics.

The event loop only builds a span or a record and appends it to a queue of fixed
length. OpenTelemetry's threads encode and send in batches; while a receiver is
away, the queue forgets what is oldest.

The providers are not OpenTelemetry's global ones, which BentoML sets up for
itself. This module imports OpenTelemetry's SDK, so it is imported only if a
receiver is configured.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from random import random
from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LogRecordLimits, ReadableLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from prometheus_client import Histogram

from polarity.record.answer import Answer
from polarity.record.descriptors import mask
from polarity.record.options import Texts
from polarity.serving import metrics
from polarity.serving.instruments import HistogramExporter, observe
from polarity.serving.options import ReceiverOptions
from polarity.serving.receivers import Receiver, receivers
from polarity.serving.request_trace import Call, RequestTrace, current_trace
from polarity.serving.trace_context import SAMPLED, Correlation, new_span_id

_STOP_S = 5.0
# Encoding a batch takes up to 100 ms, in which the event loop gets the interpreter's lock only at its switches. At
# Python's 5 ms, each of the few turns of a request would wait that long.
_SWITCH_S = 0.0001
_SCOPE = InstrumentationScope("polarity")
_SAMPLED = TraceFlags(SAMPLED)
_UNSET, _ERROR = Status(StatusCode.UNSET), Status(StatusCode.ERROR)
_SERVER_ERROR = 500
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
# Not empty, or OpenTelemetry would look for the current one.
_NOWHERE = Context({"polarity": True})

# One line for each span that a full queue forgets would cost more than the span; exporters report a receiver's failure.
logging.getLogger("opentelemetry.sdk._shared_internal").setLevel(logging.ERROR)


class Telemetry:
    """Sends what this process does to receivers.

    Parameters
    ----------
    options : ReceiverOptions
        The receivers.
    served : mapping
        The fields that identify the served model: `family`, `version`, `bento`.
    sample : float
        Share of the requests that become spans, where the client's `traceparent` does not decide it.
    label : str
        Answers with this sentiment become log records, whether their request is sampled or not.
    texts : str
        What of a text is in such a record: `off`, `masked` or `full`.
    remote_model : bool
        Whether the model is in another process.
    """

    def __init__(
        self,
        options: ReceiverOptions,
        served: Mapping[str, str],
        *,
        sample: float,
        label: str,
        texts: Texts,
        remote_model: bool = False,
    ) -> None:
        self._sample = sample
        self._label = label
        self._texts = texts
        self.serve(served)
        self._model_kind = SpanKind.CLIENT if remote_model else SpanKind.INTERNAL
        own = Resource.create(
            {
                "service.name": "polarity",
                "service.version": served["version"],
                "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
            }
        )
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence.
        self._resource = own.merge(OTELResourceDetector().detect())
        self._limits = LogRecordLimits()
        found = receivers(options)
        if found:
            sys.setswitchinterval(_SWITCH_S)
        self._spans = [BatchSpanProcessor(receiver.spans) for receiver in found]
        self._logs = [BatchLogRecordProcessor(receiver.logs) for receiver in found]
        self._meters = [self._meter(receiver) for receiver in found]

    def _meter(self, receiver: Receiver) -> MeterProvider:
        histograms = [family for family in metrics.FAMILIES if isinstance(family, Histogram)]
        exporter = HistogramExporter(receiver.metrics, receiver.temporality, histograms)
        provider = MeterProvider(
            [PeriodicExportingMetricReader(exporter)], resource=self._resource, shutdown_on_exit=False
        )
        observe(provider.get_meter("polarity"), metrics.FAMILIES)
        return provider

    def serve(self, served: Mapping[str, str]) -> None:
        """Name another model from now on; the resource keeps the version of the server's start."""
        self._served = {"version": served["version"], "bento": served["bento"], "family": served["family"]}

    def begin(self, client: Correlation) -> RequestTrace:
        """Begin the trace of a request, whose task can then find it."""
        trace = RequestTrace(client, sampled=random() < self._sample)
        current_trace.set(trace)
        return trace

    def end(self, trace: RequestTrace, method: str, route: str, status: int) -> None:
        """Send the spans of a request that has been answered, if it is recorded.

        Parameters
        ----------
        route : str
            One of the contract's routes, never a path that the client sent.
        status : int
            0 if the client has disconnected.
        """
        if not trace.recorded:
            return
        method = method if method in _METHODS else "_OTHER"
        attributes: dict[str, Any] = {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "bento": self._served["bento"],
        }
        if trace.client.request_id is not None:
            attributes["request_id"] = trace.client.request_id.decode("ascii")
        own = SpanContext(trace.context.trace_id, trace.context.span_id, False, _SAMPLED)
        given = trace.client.parent
        parent = SpanContext(given.trace_id, given.span_id, True, _SAMPLED) if given is not None else None
        self._send(
            ReadableSpan(
                f"{method} {route}",
                own,
                parent,
                self._resource,
                attributes,
                kind=SpanKind.SERVER,
                status=_ERROR if status >= _SERVER_ERROR else _UNSET,
                start_time=trace.started_ns,
                end_time=time.time_ns(),
                instrumentation_scope=_SCOPE,
            )
        )
        for call in trace.calls:
            self._send(self._dependency(call, own))

    def _dependency(self, call: Call, parent: SpanContext) -> ReadableSpan:
        model = call.dependency == "model"
        return ReadableSpan(
            call.dependency,
            SpanContext(parent.trace_id, new_span_id(), False, _SAMPLED),
            parent,
            self._resource,
            {"peer.service": "model"} if model else {"peer.service": "record", "db.system.name": "sqlite"},
            kind=self._model_kind if model else SpanKind.CLIENT,
            status=_ERROR if call.failed else _UNSET,
            start_time=call.started_ns,
            end_time=call.ended_ns,
            instrumentation_scope=_SCOPE,
        )

    def _send(self, span: ReadableSpan) -> None:
        for processor in self._spans:
            processor.on_end(span)

    def predicted(self, answer: Answer) -> None:
        """Send an answer as a log record if it has the sentiment that is asked for."""
        if answer.sentiment != self._label:
            return
        attributes: dict[str, Any] = {
            "prediction_id": answer.id,
            "sentiment": answer.sentiment,
            "score": answer.score,
            **(
                self._served
                if (model := answer.served) is None
                else {name: getattr(model, name) for name in self._served}
            ),
        }
        if answer.source is not None:
            attributes["source"] = answer.source
        if self._texts != "off":
            attributes["text"] = mask(answer.text) if self._texts == "masked" else answer.text
        record = LogRecord(
            timestamp=int(answer.at * 1e9),
            context=_NOWHERE,
            severity_text="INFO",
            severity_number=SeverityNumber.INFO,
            body=f"{answer.sentiment} prediction",
            attributes=attributes,
        )
        if (trace := current_trace.get()) is not None:
            record.trace_id, record.span_id = trace.context.trace_id, trace.context.span_id
            record.trace_flags = TraceFlags(trace.context.flags)
        for processor in self._logs:
            # Nothing changes it on the way, and to be writable would double its cost.
            processor.on_emit(ReadableLogRecord(record, self._resource, _SCOPE, self._limits))  # type: ignore[arg-type]

    def close(self) -> None:
        """Send what is left, but wait no longer than a few seconds for a receiver that is away."""
        ends: list[Callable[[], object]] = [
            one.shutdown for group in (self._spans, self._logs, self._meters) for one in group
        ]
        # Daemons, so that a receiver that never answers does not keep the process alive.
        threads = [threading.Thread(target=end, name="telemetry", daemon=True) for end in ends]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + _STOP_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
