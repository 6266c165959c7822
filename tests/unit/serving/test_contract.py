"""The contract without a server: the response to each kind of body and to each failure of the model."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polarity.errors import ServiceUnavailable
from polarity.inference.package import ModelManifest
from polarity.record.answer import Answer
from polarity.record.prediction_log import PredictionLog
from polarity.serving.batcher import Busy, ClientDisconnected, Rows, TooSlow, WaitForDisconnect
from polarity.serving.contract import Contract, Reply, Served

LABELS = ("negative", "neutral", "positive")


class Model:
    """Predicts neutral for every text, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.seen: list[str] = []

    async def predict(self, texts: Sequence[str], *, disconnected: WaitForDisconnect | None = None) -> Rows:
        if self.error is not None:
            raise self.error
        self.seen += texts
        return [[0.25, 0.5, 0.25] for _ in texts]


def contract(model: Model | None = None, log: PredictionLog | None = None, *, keep_texts: bool = False) -> Contract:
    manifest = ModelManifest(
        family="logistic",
        name="logistic",
        labels=LABELS,
        precision="fp32",
        temperature=1.0,
        max_tokens=None,
        files={},
        created="2026-01-01T00:00:00+00:00",
    )
    return Contract(Served(manifest, "3", "sentiment:3"), model or Model(), log, keep_texts=keep_texts)


def ask(served: Contract, route: str, body: Any, *headers: tuple[bytes, bytes]) -> Reply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return asyncio.run(served.answer(getattr(served, route), content, headers))


def test_three_labels_are_returned_in_the_models_order() -> None:
    reply = ask(contract(), "predict", {"text": "so so"})
    answer = json.loads(reply.body)
    assert reply.status == 200
    assert list(answer["probabilities"]) == list(LABELS)
    assert (answer["sentiment"], answer["score"]) == ("neutral", 0.5)
    assert answer["model"] == {"family": "logistic", "version": "3", "bento": "sentiment:3"}


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (Busy(2.3), 429, {b"retry-after": b"3"}),
        (Busy(0.01), 429, {b"retry-after": b"1"}),
        (TooSlow("late"), 504, {}),
        (ServiceUnavailable("away"), 503, {b"retry-after": b"1"}),
        (RuntimeError("a secret of the server"), 500, {}),
        (ClientDisconnected("left"), 0, {}),
    ],
)
def test_each_failure_has_its_status(error: Exception, status: int, headers: dict[bytes, bytes]) -> None:
    for route, body in (("predict", {"text": "x"}), ("predict_batch", {"texts": ["x"]})):
        reply = ask(contract(Model(error)), route, body)
        assert reply.status == status and dict(reply.headers) == headers
        detail = json.loads(reply.body)["detail"]
        assert isinstance(detail, str) and "secret" not in detail


def test_refused_texts_never_reach_the_model() -> None:
    model = Model()
    served = contract(model)
    for text in ("", " ", "12", "x" * 2001):
        ask(served, "predict", {"text": text})
    ask(served, "predict_batch", {"texts": ["", "12", 3, None, "good", {"text": "no"}]})
    assert model.seen == ["good"]


def test_batch_of_only_refusals_is_answered() -> None:
    reply = ask(contract(), "predict_batch", {"texts": ["", "12"]}, (b"accept-language", b"en"))
    assert reply.status == 200
    assert json.loads(reply.body) == {
        "predictions": [{"error": "The text must not be empty."}, {"error": "The text must not be a number."}]
    }


def test_half_an_emoji_reaches_the_model_as_a_replacement_character() -> None:
    model = Model()
    assert ask(contract(model), "predict", b'{"text": "a \\ud83d b \\ud83d\\ude00"}').status == 200
    assert model.seen == ["a \ufffd b 😀"]


def test_byte_order_mark_is_accepted() -> None:
    assert ask(contract(), "predict", b'\xef\xbb\xbf{"text": "from a spreadsheet"}').status == 200


def test_only_the_first_of_a_thousand_unknown_fields_are_reported() -> None:
    body = {"text": "x"} | {f"field{n}": n for n in range(1000)}
    reply = ask(contract(), "predict", body)
    assert reply.status == 422
    assert [problem["loc"] for problem in json.loads(reply.body)["detail"]] == [
        ["body", f"field{n}"] for n in range(10)
    ]


@pytest.mark.parametrize("name", ["x" * 65, "no name\n", "\ud800", "<script>", ""], ids=ascii)
def test_odd_field_name_is_not_echoed(name: str) -> None:
    reply = ask(contract(), "predict", {"text": "x", name: 1})
    assert reply.status == 422
    assert json.loads(reply.body)["detail"][0]["loc"] == ["body"]


@given(st.binary(max_size=200))
def test_no_body_causes_an_internal_error(body: bytes) -> None:
    for route in ("predict", "predict_batch", "feedback"):
        assert ask(contract(), route, body).status in (200, 400, 404, 422, 503)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["text", "texts", "label", "x"]), inner)
    ),
    max_leaves=12,
)


@given(JSON)
def test_no_json_causes_an_internal_error(value: Any) -> None:
    for route in ("predict", "predict_batch", "feedback"):
        reply = ask(contract(), route, json.dumps(value).encode())
        assert reply.status in (200, 400, 404, 422, 503)
        json.loads(reply.body)


@pytest.mark.parametrize("keep_texts", [False, True])
def test_predictions_are_stored_and_feedback_finds_them(tmp_path: Path, keep_texts: bool) -> None:
    log = PredictionLog(lambda: SqliteStore(tmp_path / "log.db"))
    served = contract(log=log, keep_texts=keep_texts)
    predictions = json.loads(ask(served, "predict_batch", {"texts": ["one", "", "two"]}).body)["predictions"]
    ids = [item["prediction_id"] for item in predictions if "error" not in item]
    statuses = [
        ask(served, "feedback", {"prediction_id": prediction_id, "label": label}).status
        for prediction_id, label in ((ids[0], "neutral"), (ids[0], "neutral"), (ids[0], "negative"), ("?", "neutral"))
    ]
    assert statuses == [201, 200, 409, 404]
    assert ask(served, "feedback", {"prediction_id": ids[1], "label": "happy"}).status == 422
    log.close()
    with sqlite3.connect(tmp_path / "log.db") as connection:
        kept = connection.execute("SELECT id, text, characters, version FROM predictions ORDER BY id").fetchall()
    assert sorted(kept) == sorted(
        (name, text if keep_texts else None, 3, "3") for name, text in zip(ids, ("one", "two"))
    )


def test_ids_are_unique_and_sort_by_age() -> None:
    served = contract()
    ids = [json.loads(ask(served, "predict", {"text": "x"}).body)["prediction_id"] for _ in range(50)]
    assert len(set(ids)) == 50
    assert [name[:14] for name in ids] == sorted(name[:14] for name in ids)


def test_feedback_distinguishes_an_unavailable_log_from_an_unavailable_model(tmp_path: Path) -> None:
    def read_only() -> SqliteStore:
        raise sqlite3.OperationalError("attempt to write a readonly database")

    log = PredictionLog(read_only)
    try:
        reply = ask(
            contract(log=log), "feedback", {"prediction_id": "x", "label": "positive"}, (b"accept-language", b"en")
        )
    finally:
        log.close()
    assert reply.status == 503 and dict(reply.headers) == {b"retry-after": b"1"}
    assert json.loads(reply.body) == {"detail": "The label could not be stored: the prediction log does not respond."}
