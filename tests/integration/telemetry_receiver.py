"""A receiver of telemetry on loopback: OTLP as protobuf over HTTP, and Azure's ingestion of JSON, gzipped or not."""

from __future__ import annotations

import gzip
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

KEY = "00000000-0000-4000-8000-000000000000"
_OTLP: dict[str, tuple[Any, Any]] = {
    "/v1/traces": (ExportTraceServiceRequest, ExportTraceServiceResponse),
    "/v1/logs": (ExportLogsServiceRequest, ExportLogsServiceResponse),
    "/v1/metrics": (ExportMetricsServiceRequest, ExportMetricsServiceResponse),
}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client that was not answered has left
            super().handle_error(request, client_address)


class TelemetryReceiver:
    """Keeps what it was sent, or lets its clients wait.

    Attributes
    ----------
    bodies : list of bytes
        The decompressed body of every request.
    requests : int
        Requests that have arrived, answered or not.
    """

    def __init__(self, *, silent: bool = False) -> None:
        self.bodies: list[bytes] = []
        self.requests = 0
        self._answer = threading.Event()
        if not silent:
            self._answer.set()
        self._messages: dict[str, list[Any]] = {path: [] for path in _OTLP}
        self._envelopes: list[dict[str, Any]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver._take(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.connection_string = f"InstrumentationKey={KEY};IngestionEndpoint={self.url}/"

    def _take(self, request: BaseHTTPRequestHandler) -> None:
        self.requests += 1
        body = request.rfile.read(int(request.headers["content-length"]))
        self._answer.wait()
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        path = request.path.partition("?")[0]
        if path in _OTLP:
            assert request.headers["content-type"] == "application/x-protobuf"
            kind, response = _OTLP[path]
            self._messages[path].append(kind.FromString(body))
            content_type, content = "application/x-protobuf", response().SerializeToString()
        elif path == "/v2.1/track":
            # Ingestion takes lines of one item each, or lists of items.
            lines = [json.loads(line) for line in body.splitlines()]
            envelopes = [item for line in lines for item in (line if isinstance(line, list) else [line])]
            assert all(envelope["iKey"] == KEY for envelope in envelopes)
            self._envelopes += envelopes
            count = len(envelopes)
            content_type = "application/json"
            content = json.dumps({"itemsReceived": count, "itemsAccepted": count, "errors": []}).encode()
        else:
            request.send_error(404)
            return
        self.bodies.append(body)
        request.send_response(200)
        request.send_header("content-type", content_type)
        request.send_header("content-length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    @property
    def spans(self) -> list[Any]:
        """OTLP's spans."""
        groups = [group for message in self._messages["/v1/traces"] for group in message.resource_spans]
        return [span for group in groups for scope in group.scope_spans for span in scope.spans]

    @property
    def records(self) -> list[Any]:
        """OTLP's log records."""
        groups = [group for message in self._messages["/v1/logs"] for group in message.resource_logs]
        return [record for group in groups for scope in group.scope_logs for record in scope.log_records]

    @property
    def metrics(self) -> dict[str, Any]:
        """OTLP's metrics by name, the last of each."""
        groups = [group for message in self._messages["/v1/metrics"] for group in message.resource_metrics]
        return {metric.name: metric for group in groups for scope in group.scope_metrics for metric in scope.metrics}

    @property
    def resources(self) -> list[dict[str, Any]]:
        """The resource of each message of spans."""
        groups = [group for message in self._messages["/v1/traces"] for group in message.resource_spans]
        return [attributes(group.resource) for group in groups]

    def data(self, kind: str) -> list[dict[str, Any]]:
        """Azure's items of one kind (`RequestData`, `MessageData`, ...), each with its tags."""
        return [
            {**envelope["data"]["baseData"], "tags": envelope["tags"]}
            for envelope in self._envelopes
            if envelope["data"]["baseType"] == kind
        ]

    @contextmanager
    def running(self) -> Iterator[TelemetryReceiver]:
        """Listen until the block is left."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self._answer.set()
            self._server.shutdown()
            thread.join()
            self._server.server_close()


def attributes(carrier: Any) -> dict[str, Any]:
    """The attributes of a span, a record, a data point or a resource."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in carrier.attributes}
