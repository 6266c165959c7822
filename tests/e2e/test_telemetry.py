"""Telemetry of a served Bento: it reaches its receivers, and their absence changes nothing."""

from __future__ import annotations

from typing import Any

import httpx

from polarity.bento.server import free_port
from tests.integration.telemetry_receiver import KEY, TelemetryReceiver, attributes

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TEXTS = ["so sad and awful @ann http://x.org", "such a lovely day", "terrible service, hate it"]


def test_requests_dependencies_negatives_and_metrics_arrive(serve: Any) -> None:
    with TelemetryReceiver().running() as receiver:
        options = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "APPLICATIONINSIGHTS_CONNECTION_STRING": receiver.connection_string,
            "POLARITY_TELEMETRY_SAMPLE": "0",
            "POLARITY_LOG_TEXTS": "masked",
            "POLARITY_LOG_DURABLE": "true",  # so that an answer waits for the record
        }
        sent = {"traceparent": f"00-{TRACE}-{SPAN}-01", "x-request-id": "order-7", "x-source": "shop"}
        with serve(**options) as server, httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
            plain = client.post("/predict/batch", json={"texts": ["not sampled"]})
            assert plain.status_code == 200 and not {"traceparent", "x-request-id"} & set(plain.headers)
            reply = client.post("/predict/batch", json={"texts": TEXTS}, headers=sent)
            assert "polarity_requests_total" in client.get("/metrics").text
        # The server has sent what was left before it ended.
    (request,) = [span for span in receiver.spans if span.name == "POST /predict/batch"]
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, SPAN)
    assert reply.headers["traceparent"] == f"00-{TRACE}-{request.span_id.hex()}-01"
    assert reply.headers["x-request-id"] == attributes(request)["request_id"] == "order-7"
    dependencies = {span.name for span in receiver.spans if span.parent_span_id == request.span_id}
    assert dependencies == {"model", "record"}
    assert [one["name"] for one in receiver.data("RequestData")] == ["POST /predict/batch"]
    assert {one["name"] for one in receiver.data("RemoteDependencyData")} == {"model", "record"}

    answers = zip(reply.json()["predictions"], TEXTS, strict=True)
    negative = {answer["prediction_id"]: text for answer, text in answers if answer["sentiment"] == "negative"}
    records = {attributes(one)["prediction_id"]: attributes(one) for one in receiver.records}
    traces = {one["properties"]["prediction_id"]: one["properties"] for one in receiver.data("MessageData")}
    assert negative and set(negative) <= set(records) and set(records) == set(traces)
    for name, text in negative.items():
        for given in (records[name], traces[name]):
            assert (given["sentiment"], given["source"]) == ("negative", "shop")
            assert "@ann" not in given["text"] and "http://x.org" not in given["text"]
            assert given["text"].split()[0] == text.split()[0]

    points = receiver.metrics["polarity_requests_total"].sum.data_points
    batch = [point for point in points if attributes(point) == {"route": "/predict/batch", "status": "200"}]
    assert [point.as_double or point.as_int for point in batch] == [2]
    assert receiver.data("MetricData")


def test_receiver_that_is_away_changes_no_answer_and_not_the_end(serve: Any) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    options = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": away,
        "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={KEY};IngestionEndpoint={away}/",
        "POLARITY_TELEMETRY_SAMPLE": "1",
    }
    with serve(**options) as server, httpx.Client(trust_env=False, timeout=30) as client:
        statuses = [client.post(f"{server.url}/predict", json={"text": TEXTS[0]}).status_code for _ in range(300)]
    assert statuses == [200] * 300
    assert server.process.returncode == 0, "it ended by itself"
