"""Telemetry as receivers get it: the real exporters send over loopback what the door did."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, get_args

import httpx
import pytest
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.trace import ReadableSpan

from bentos.api import api
from bentos.door import Door
from polarity.errors import ServiceUnavailable
from polarity.inference.package import ModelManifest
from polarity.record.options import Texts
from polarity.serving import metrics
from polarity.serving.batcher import Answer as MakeAnswer
from polarity.serving.batcher import Timing, WaitForDisconnect
from polarity.serving.contract import Contract, Served
from polarity.serving.options import ReceiverOptions
from polarity.serving.telemetry import Telemetry
from tests.integration.telemetry_receiver import TelemetryReceiver, attributes
from tests.unit.serving.test_contract import Log, settled

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, NOT_SAMPLED = (f"00-{TRACE}-{SPAN}-{flags}" for flags in ("01", "00"))
SECRET = "awful day @someone at 0123456789"


class Model:
    """Negative for texts with "awful", positive for others; away for "away"."""

    async def predict(
        self,
        texts: Sequence[str],
        *,
        disconnected: WaitForDisconnect | None = None,
        timing: Timing | None = None,
        answer: MakeAnswer | None = None,
    ) -> Any:
        if "away" in texts:
            raise ServiceUnavailable("away")
        if timing is not None:
            timing.computed_s = 0.001
        return await settled([[0.9, 0.1] if "awful" in text else [0.2, 0.8] for text in texts], answer)

    def begin(
        self, texts: Sequence[str], *, timing: Timing | None = None, answer: MakeAnswer | None = None
    ) -> asyncio.Future[Any]:
        return asyncio.ensure_future(self.predict(texts, timing=timing, answer=answer))

    def retry_delay_s(self, texts: int = 1, *, incoming: int = 0) -> float | None:
        return None


Request = tuple[str, str, Any, dict[str, str]]


def predict(text: str, **headers: str) -> Request:
    return "POST", "/predict", {"text": text}, {name.replace("_", "-"): value for name, value in headers.items()}


@contextmanager
def served(receivers: ReceiverOptions, *, sample: float = 1.0, texts: Texts = "off") -> Iterator[Door]:
    """A door whose telemetry goes to `receivers`; inside of an event loop."""
    manifest = ModelManifest(
        family="logistic",
        name="logistic",
        labels=("negative", "positive"),
        precision="fp32",
        temperature=1.0,
        max_tokens=None,
        files={},
        created="2026-01-01T00:00:00+00:00",
    )
    model = Served(manifest, "3", "sentiment:3")
    telemetry = Telemetry(receivers, model.identity, sample=sample, label="negative", texts=texts)
    contract = Contract(model, Model(), Log(), watch=telemetry)
    api.state.contract = contract
    door = Door(api, keys=(), body_timeout_s=1)
    door.open(contract, problem=lambda: None, telemetry=telemetry)
    try:
        yield door
    finally:
        api.state.contract = None
        telemetry.close()


def client_of(door: Door) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://here")


def serve(
    receivers: ReceiverOptions, requests: Sequence[Request], *, sample: float = 1.0, texts: Texts = "off"
) -> list[httpx.Response]:
    """Answer `requests` behind the door, and send their telemetry."""

    async def run() -> list[httpx.Response]:
        with served(receivers, sample=sample, texts=texts) as door:
            async with client_of(door) as client:
                return [
                    await client.request(method, path, json=body, headers=headers)
                    for method, path, body, headers in requests
                ]

    return asyncio.run(run())


def test_otlp_receiver_gets_requests_with_their_calls() -> None:
    with TelemetryReceiver().running() as receiver:
        (reply, failed, lost) = serve(
            ReceiverOptions(otlp=receiver.url),
            [
                predict("so so", traceparent=SAMPLED, x_request_id="order-7"),
                predict("away"),
                ("GET", "/predict/a-secret-in-a-path", None, {}),
            ],
        )
    named = {
        (span.name, attributes(span)["http.response.status_code"]): span for span in receiver.spans if span.kind == 2
    }
    request = named["POST /predict", 200]
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, SPAN)
    assert attributes(request)["request_id"] == "order-7"
    assert reply.headers["traceparent"] == f"00-{TRACE}-{request.span_id.hex()}-01"
    calls = {span.name: span for span in receiver.spans if span.parent_span_id == request.span_id}
    assert set(calls) == {"model", "record"}
    for call in calls.values():
        assert request.start_time_unix_nano <= call.start_time_unix_nano <= call.end_time_unix_nano
        assert call.end_time_unix_nano <= request.end_time_unix_nano and call.status.code != 2
    assert calls["model"].end_time_unix_nano - calls["model"].start_time_unix_nano > 0

    away = named["POST /predict", 503]
    assert failed.status_code == 503 and away.status.code == 2
    (call,) = [span for span in receiver.spans if span.parent_span_id == away.span_id]
    assert call.name == "model" and call.status.code == 2
    assert lost.status_code == 404 and ("GET other", 404) in named
    assert receiver.resources[0]["service.name"] == "polarity" and receiver.resources[0]["service.version"] == "3"
    assert not any(b"secret" in body for body in receiver.bodies)


def test_azure_receives_requests_dependencies_metrics_and_traces() -> None:
    with TelemetryReceiver().running() as receiver:
        answer, _ = serve(
            ReceiverOptions(azure=receiver.connection_string),
            [predict(SECRET, traceparent=SAMPLED, x_source="shop"), predict("so so")],
        )
    (request,) = [one for one in receiver.data("RequestData") if one["tags"]["ai.operation.id"] == TRACE]
    assert (request["name"], request["responseCode"], request["success"]) == ("POST /predict", "200", True)
    assert request["tags"]["ai.operation.parentId"] == SPAN and request["tags"]["ai.cloud.role"] == "polarity"
    calls = [one for one in receiver.data("RemoteDependencyData") if one["tags"]["ai.operation.id"] == TRACE]
    assert {call["name"] for call in calls} == {"model", "record"}
    assert {call["tags"]["ai.operation.parentId"] for call in calls} == {request["id"]}
    (message,) = receiver.data("MessageData")
    assert message["message"] == "negative prediction" and message["tags"]["ai.operation.id"] == TRACE
    given = answer.json()
    expected = {
        "prediction_id": given["prediction_id"],
        "sentiment": "negative",
        "score": "0.9",
        "version": "3",
        "bento": "sentiment:3",
        "source": "shop",
    }
    assert expected.items() <= message["properties"].items() and "text" not in message["properties"]
    sent = Counter(point["name"] for one in receiver.data("MetricData") for point in one["metrics"])
    assert {"polarity_requests_total", "polarity_request_seconds", "polarity_predictions_total"} <= set(sent)


def test_metrics_are_those_of_prometheus() -> None:
    with TelemetryReceiver().running() as receiver:
        serve(ReceiverOptions(otlp=receiver.url), [predict("so so"), predict(SECRET)])
    for family in metrics.FAMILIES:
        (collected,) = family.collect()
        if collected.type == "histogram":
            for point in receiver.metrics[collected.name].histogram.data_points:
                values = {
                    sample.labels.get("le") or sample.name.rpartition("_")[2]: sample.value
                    for sample in collected.samples
                    if attributes(point).items() <= sample.labels.items()
                }
                assert point.count == values["count"] == sum(point.bucket_counts) and point.sum == values["sum"]
                running = 0
                for bound, count in zip((*point.explicit_bounds, float("inf")), point.bucket_counts, strict=True):
                    running += count
                    (cumulative,) = (
                        n for le, n in values.items() if le not in ("count", "sum", "created") and float(le) == bound
                    )
                    assert running == cumulative
            continue
        name = f"{collected.name}_total" if collected.type == "counter" else collected.name
        samples = {
            tuple(sorted(sample.labels.items())): sample.value for sample in collected.samples if sample.name == name
        }
        if not samples:
            continue
        sent = receiver.metrics[name]
        points = sent.sum.data_points if collected.type == "counter" else sent.gauge.data_points
        got = {tuple(sorted(attributes(point).items())): point.as_double or point.as_int for point in points}
        assert got == samples, name


@pytest.mark.parametrize("texts", get_args(Texts))
def test_texts_leave_only_as_the_record_may_keep_them(texts: Texts) -> None:
    with TelemetryReceiver().running() as otlp, TelemetryReceiver().running() as azure:
        receivers = ReceiverOptions(otlp=otlp.url, azure=azure.connection_string)
        serve(receivers, [predict(SECRET), predict("fine @someone"), predict("away")], texts=texts)
    expected = {"off": None, "masked": "awful day @user at 0000000", "full": SECRET}[texts]
    (record,) = otlp.records
    assert attributes(record).get("text") == expected
    (message,) = azure.data("MessageData")
    assert message["properties"].get("text") == expected
    everything = b"".join(otlp.bodies + azure.bodies)
    assert (b"@someone" in everything) == (texts == "full") and b"fine @" not in everything


@pytest.mark.parametrize(
    ("sample", "parent", "recorded"),
    [(0.0, SAMPLED, True), (1.0, NOT_SAMPLED, False), (0.0, None, False), (1.0, None, True)],
)
def test_client_decides_about_its_trace_and_the_ratio_about_others(
    sample: float, parent: str | None, recorded: bool
) -> None:
    headers = {"traceparent": parent} if parent else {}
    with TelemetryReceiver().running() as receiver:
        (reply,) = serve(ReceiverOptions(otlp=receiver.url), [predict(SECRET, **headers)], sample=sample)
    requests = [span for span in receiver.spans if span.kind == 2]
    assert len(requests) == recorded
    if recorded:
        assert reply.headers["traceparent"].split("-")[1:3] == [requests[0].trace_id.hex(), requests[0].span_id.hex()]
    else:
        assert reply.headers.get("traceparent") == parent
    # Negative answers are sent in any case, in the client's trace if it has one.
    (record,) = receiver.records
    assert (record.trace_id.hex() == TRACE) == (parent is not None)


def alive() -> int:
    """Spans and log records that are in memory."""
    gc.collect()
    return sum(isinstance(one, ReadableSpan | ReadableLogRecord) for one in gc.get_objects())


@pytest.mark.parametrize("kind", ["otlp", "azure"])
def test_receiver_that_never_answers_delays_nothing_and_costs_bounded_memory(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, batch = 64, 16
    for signal in ("BSP", "BLRP"):
        monkeypatch.setenv(f"OTEL_{signal}_MAX_QUEUE_SIZE", str(queue))
        monkeypatch.setenv(f"OTEL_{signal}_MAX_EXPORT_BATCH_SIZE", str(batch))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setattr("polarity.serving.telemetry._STOP_S", 0.1)
    before, kept = alive(), []

    async def run(receiver: TelemetryReceiver) -> tuple[int, int]:
        azure = ReceiverOptions(azure=receiver.connection_string)
        answered = 0
        with served(azure if kind == "azure" else ReceiverOptions(otlp=receiver.url), texts="full") as door:
            async with client_of(door) as client:
                for _ in range(400):
                    reply = await client.post("/predict", json={"text": SECRET})
                    answered += reply.status_code == 200
                    if answered % 100 == 0:
                        kept.append(alive() - before)
        return answered, len(receiver.bodies)

    with TelemetryReceiver(silent=True).running() as receiver:
        answered, delivered = asyncio.run(run(receiver))
        # One request for each kind of telemetry is under way, and no answer has waited for it.
        assert (answered, delivered) == (400, 0) and receiver.requests >= 1
    # Of 1,200 spans and 400 records: two queues, and a batch of each that is being sent.
    assert max(kept) <= 2 * (queue + batch)


def test_without_a_receiver_no_exporter_is_imported() -> None:
    code = (
        "import sys, bentos.door, bentos.connection, bentos.api, polarity.serving.options, polarity.serving.metrics\n"
        "assert not [name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter', "
        "'azure.', 'polarity.serving.telemetry'))]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
