"""A served Bento speaks Label Studio's protocol for models: what is annotated there comes back as feedback."""

from __future__ import annotations

from pathlib import Path

import httpx

from polarity.record.history import Span
from polarity.record.labelled_answers import labelled_answers
from polarity.record.options import RecordOptions
from polarity.record.store import opened_record
from tests.e2e.conftest import Serve


def test_a_prediction_is_shown_and_its_annotation_stored(serve: Serve, tmp_path: Path) -> None:
    record = {"POLARITY_PREDICTION_LOG": str(tmp_path / "log.db"), "POLARITY_LOG_TEXTS": "full"}
    with (
        serve(**record, POLARITY_API_KEY="k") as server,
        httpx.Client(base_url=f"{server.url}/label-studio", auth=("label-studio", "k"), trust_env=False) as studio,
    ):
        assert httpx.get(f"{server.url}/label-studio/health", trust_env=False).status_code == 401
        assert studio.get("/health").json()["status"] == "UP"
        assert studio.post("/setup", json={"project": "1.1", "schema": ""}).json()["model_version"]
        tasks = [{"id": 1, "data": {"text": "such a good day"}}]
        (answer,) = studio.post("/predict", json={"tasks": tasks}).json()["results"]
        region = {**answer["result"][0], "value": {"choices": ["negative"]}}
        sent = {"action": "ANNOTATION_CREATED", "task": tasks[0], "annotation": {"result": [region]}}
        statuses = [studio.post("/webhook", json=sent).status_code for _ in range(2)]
    assert statuses == [201, 200]
    with opened_record(RecordOptions.read(record)) as store:
        (stored,) = labelled_answers(store, Span(0, 1e12), 10)
    assert (stored.prediction_id, stored.label, stored.origin) == (region["id"], "negative", "queue")
    assert (stored.text, stored.source) == ("such a good day", "label-studio")
