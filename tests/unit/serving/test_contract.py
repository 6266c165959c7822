"""The contract without a server: the response to each kind of body and to each failure of the model."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polarity.errors import ServiceUnavailable
from polarity.inference.package import ModelManifest
from polarity.record.answer import Answer, Origin, Outcome
from polarity.record.prediction_log import RecordUnavailable
from polarity.serving.batcher import Answer as MakeAnswer
from polarity.serving.batcher import Busy, ClientDisconnected, Rows, Timing, TooSlow, WaitForDisconnect
from polarity.serving.contract import Contract, Reply, Served, too_many_values

LABELS = ("negative", "neutral", "positive")


async def settled(rows: Rows, answer: MakeAnswer | None) -> Any:
    """What a backend returns."""
    if answer is None:
        return rows
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    answer(rows, future)
    return await future


class Model:
    """Predicts neutral for every text, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.seen: list[str] = []

    async def predict(
        self,
        texts: Sequence[str],
        *,
        disconnected: WaitForDisconnect | None = None,
        timing: Timing | None = None,
        answer: MakeAnswer | None = None,
    ) -> Any:
        if timing is not None:
            timing.waited_s, timing.computed_s = 0.25, 0.5
        if self.error is not None:
            raise self.error
        self.seen += texts
        return await settled([[0.25, 0.5, 0.25] for _ in texts], answer)

    def begin(
        self, texts: Sequence[str], *, timing: Timing | None = None, answer: MakeAnswer | None = None
    ) -> asyncio.Future[Any]:
        return asyncio.ensure_future(self.predict(texts, timing=timing, answer=answer))


class Log:
    """Keeps what it is given, or fails; the real one is tested with its recorder in tests/unit/record."""

    def __init__(self, problem: str = "") -> None:
        self.problem = problem
        self.answers: list[Answer] = []
        self.labels: list[tuple[str, str, Origin]] = []
        self.waits = 0

    def add(self, answer: Answer) -> None:
        self.answers.append(answer)

    def stored(self) -> asyncio.Future[None]:
        self.waits += 1
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.problem:
            stored.set_exception(RecordUnavailable(self.problem))
        else:
            stored.set_result(None)
        return stored

    def settle(self, future: asyncio.Future[Any], value: object) -> bool:
        self.waits += 1
        if self.problem:
            future.set_exception(RecordUnavailable(self.problem))
        else:
            future.set_result(value)
        return True

    async def feedback(self, prediction_id: str, label: str, origin: Origin = "volunteered") -> Outcome:
        if self.problem:
            raise RecordUnavailable(self.problem)
        self.labels.append((prediction_id, label, origin))
        return "new"


def contract(model: Model | None = None, log: Log | None = None, *, review_share: float = 0.0) -> Contract:
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
    return Contract(Served(manifest, "3", "sentiment:3"), model or Model(), log, review_share=review_share)


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


@pytest.mark.parametrize("item", ["[]", "{}", "0", "null", '""', '"\\\\"', '{"a":[]}'])
def test_body_with_far_too_many_values_is_refused_before_they_are_built(item: str) -> None:
    body = f'{{"texts": [{",".join([item] * (3_900_000 // (len(item) + 1)))}]}}'.encode()
    tracemalloc.start()
    try:
        reply = ask(contract(), "predict_batch", body)
        assert tracemalloc.get_traced_memory()[1] < 32 * 1024 * 1024, "not even once"
    finally:
        tracemalloc.stop()
    assert (reply.status, json.loads(reply.body)["detail"][0]["type"]) == (422, "too_many_values")


@pytest.mark.parametrize("text", ["," * 2000, '","' * 600, "\\,\\" * 600, '\\","' * 500], ids=ascii)
def test_commas_in_texts_are_not_values(text: str) -> None:
    model = Model()
    reply = ask(contract(model), "predict_batch", {"texts": ["a" + text[:1999]] * 1000})
    assert reply.status == 200 and len(model.seen) == 1000


@pytest.mark.parametrize(("values", "refused"), [(10_001, False), (10_002, True)])
def test_values_are_counted_whatever_they_are(values: int, refused: bool) -> None:
    tasks = [{f"name {n}": 'said: "a, b\\"' for n in range(9)}] * (values // 9)
    tasks.append({f"name {n}": "c" for n in range(values % 9)})
    assert too_many_values(json.dumps(tasks).encode()) is refused


def test_somewhat_too_many_texts_are_refused_as_such() -> None:
    reply = ask(contract(), "predict_batch", {"texts": ["so"] * 9000})
    assert (reply.status, json.loads(reply.body)["detail"][0]["type"]) == (422, "too_long")


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


def test_answers_are_recorded_with_their_source_and_timing() -> None:
    log = Log()
    served = contract(log=log)
    body = {"texts": ["one", "", "two"]}
    reply = ask(served, "predict_batch", body, (b"x-source", b"  shop " + b"x" * 80))
    ids = [item["prediction_id"] for item in json.loads(reply.body)["predictions"] if "error" not in item]
    assert [(answer.id, answer.text) for answer in log.answers] == list(zip(ids, ("one", "two"), strict=True))
    assert all(answer.source == "shop " + "x" * 59 for answer in log.answers), "at most 64 characters"
    assert all((answer.waited_s, answer.computed_s) == (0.25, 0.5) for answer in log.answers)
    assert log.waits == 1, "one wait for all of a request"


def test_drawn_answers_carry_the_probability_of_the_draw() -> None:
    log = Log()
    served = contract(log=log, review_share=0.5)
    for _ in range(200):
        ask(served, "predict", {"text": "so so"})
    drawn = [answer.drawn for answer in log.answers]
    assert {answer.draw_probability for answer in log.answers} != {0.0}
    expected = sum(answer.draw_probability for answer in log.answers)
    assert abs(sum(drawn) - expected) < 50, "seven standard deviations"


def test_an_answer_that_cannot_be_recorded_is_a_503_of_its_own() -> None:
    reply = ask(contract(log=Log(problem="disk full")), "predict", {"text": "so so"}, (b"accept-language", b"en"))
    assert reply.status == 503 and dict(reply.headers) == {b"retry-after": b"1"}
    assert json.loads(reply.body) == {"detail": "The answer could not be recorded; try again."}


def test_feedback_is_stored_with_its_origin() -> None:
    log = Log()
    served = contract(log=log)
    given = {"prediction_id": "a", "label": "neutral"}
    assert ask(served, "feedback", given).status == 201
    assert ask(served, "feedback", {**given, "review": True}).status == 201
    assert ask(served, "feedback", {**given, "review": "yes"}).status == 422
    assert log.labels == [("a", "neutral", "volunteered"), ("a", "neutral", "review")]
    assert ask(served, "feedback", {"prediction_id": "a", "label": "happy"}).status == 422


def test_ids_are_unique_and_sort_by_age() -> None:
    served = contract()
    ids = [json.loads(ask(served, "predict", {"text": "x"}).body)["prediction_id"] for _ in range(50)]
    assert len(set(ids)) == 50
    assert [name[:14] for name in ids] == sorted(name[:14] for name in ids)


def test_feedback_distinguishes_an_unavailable_log_from_an_unavailable_model() -> None:
    reply = ask(
        contract(log=Log(problem="read only")),
        "feedback",
        {"prediction_id": "x", "label": "positive"},
        (b"accept-language", b"en"),
    )
    assert reply.status == 503 and dict(reply.headers) == {b"retry-after": b"1"}
    assert json.loads(reply.body) == {"detail": "The label could not be stored: the prediction log does not respond."}


def test_large_bodies_take_turns_and_too_many_are_refused() -> None:
    served = contract(Model())
    large = json.dumps({"texts": ["so good " * 3_000]}).encode()
    many = json.dumps({"texts": ["so good"] * 1000, "more": "x" * 3_900_000}).encode()

    async def ask() -> tuple[list[Reply], list[str]]:
        order: list[str] = []

        async def one(name: str, body: bytes) -> Reply:
            reply = await served.answer(served.predict_batch, body, ())
            order.append(name)
            return reply

        replies = await asyncio.gather(
            *(one("large", large) for _ in range(4)), one("small", b'{"texts": ["so bad"]}'),
            *(one("huge", many) for _ in range(20)),
        )  # fmt: skip
        return replies, order

    replies, order = asyncio.run(ask())
    assert [reply.status for reply in replies[:5]] == [200] * 5
    assert order.index("small") < 2, "it did not wait for the large ones"
    assert Counter(reply.status for reply in replies[5:]) == {422: 17, 429: 3}, "64 MiB may wait"
