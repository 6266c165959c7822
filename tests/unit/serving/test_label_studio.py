"""What Label Studio sends is understood or refused, whatever its labelling configuration is."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from polarity.serving.contract import Reply
from polarity.serving.label_studio import LabelStudio
from tests.unit.serving.test_contract import Log, contract

CONFIG = """<View><!-- ours --><Text name="tweet" value="$body"/>
<Choices name="mood" toName="tweet"><Choice value="Negative"/><Choice value="Neutral"/>
<Choice value="Good" alias="Positive"/></Choices></View>"""


def ask(route: str, body: dict[str, Any], log: Log | None = None) -> tuple[int, Any]:
    known = contract(log=log or Log())

    async def answered() -> Reply:
        return await known.answer(getattr(LabelStudio(known), route), json.dumps(body).encode(), ())

    reply = asyncio.run(answered())
    return reply.status, json.loads(reply.body)


def webhook(action: str = "ANNOTATION_CREATED", choice: str = "Positive", **data: str) -> dict[str, Any]:
    region = {"id": "a1", "from_name": "mood", "to_name": "tweet", "type": "choices", "value": {"choices": [choice]}}
    return {
        "action": action,
        "task": {"id": 7, "data": {"body": "so so", **data}},
        "annotation": {"id": 3, "result": [region], "completed_by": 1},
        "project": {"id": 1, "label_config": CONFIG},
    }


def test_predictions_use_the_names_of_the_configuration() -> None:
    tasks = [{"id": 1, "data": {"body": "so so"}}, {"id": 2, "data": {"body": " "}}, {"id": 3, "data": {}}]
    status, answer = ask("predict", {"tasks": tasks, "label_config": CONFIG, "project": "1.1", "params": {}})
    assert status == 200
    first, blank, none = (one["result"] for one in answer["results"])
    assert [one["value"] for one in first] == [{"choices": ["Neutral"]}]
    assert (first[0]["from_name"], first[0]["to_name"], first[0]["type"]) == ("mood", "tweet", "choices")
    assert blank == none == []
    assert ask("predict", {"tasks": []}) == (200, {"results": []})


def test_a_configuration_without_the_labels_of_the_model_is_refused_at_setup() -> None:
    assert ask("setup", {"project": "1.1", "schema": CONFIG})[0] == 200
    for wrong in (CONFIG.replace("Neutral", "Meh"), CONFIG.replace('toName="tweet"', 'toName="x"'), "<View", "<View/>"):
        status, answer = ask("setup", {"schema": wrong})
        assert status == 400 and "labels" in answer["detail"]
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa">]>' + CONFIG
    assert ask("setup", {"schema": bomb})[0] == 400


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (webhook(), [("a1", "positive", "queue")]),
        (webhook("ANNOTATION_UPDATED", "Negative"), [("a1", "negative", "queue")]),
        (webhook(prediction_id="p9"), [("p9", "positive", "review")]),
        (webhook("ANNOTATIONS_DELETED"), []),
        (webhook("PROJECT_UPDATED"), []),
        (webhook(choice="Something else"), []),
        ({"action": "START_TRAINING", "project": {"id": 1}}, []),
    ],
)
def test_an_annotation_is_a_label_and_the_rest_is_acknowledged(sent: dict[str, Any], stored: list[Any]) -> None:
    log = Log()
    status, _ = ask("webhook", sent, log)
    assert status == (201 if stored else 200)
    assert log.labels == stored


@pytest.mark.parametrize("body", [{"tasks": 3}, {"tasks": [1]}, {}])
def test_what_is_not_the_protocol_is_refused(body: dict[str, Any]) -> None:
    assert ask("predict", body)[0] == 422


def test_it_is_up() -> None:
    assert ask("health", {})[1]["status"] == "UP"
