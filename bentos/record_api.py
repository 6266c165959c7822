"""The routes for people who label and watch, with their schemas; see `polarity.serving.record_routes`."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Query, Request, Response

from bentos.replies import contract_of, json_answer, response_of
from polarity.serving.contract import Handler
from polarity.serving.record_routes import MAX_CLAIMED, MAX_LABELLED, ClaimRequest, LabelRequest, RecordRoutes

router = APIRouter()
_NUMBER, _TEXT, _COUNT = {"type": "number"}, {"type": "string"}, {"type": "integer", "minimum": 0}
_MAYBE_NUMBER, _MAYBE_TEXT = {"type": ["number", "null"]}, {"type": ["string", "null"]}
_MAYBE_COUNT = {"type": ["integer", "null"]}


def _object(title: str | None = None, /, **properties: dict[str, Any]) -> dict[str, Any]:
    named = {"title": title} if title else {}
    return {**named, "type": "object", "properties": properties, "required": list(properties)}


def _list(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": _object(**properties)}


_CLAIMED = _object(
    "Assigned",
    waiting={**_COUNT, "description": "Answers drawn for review that have no label, of all people."},
    labelled={**_COUNT, "description": "Labels that this person has given."},
    items=_list(
        prediction_id=_TEXT,
        at=_NUMBER,
        text=_MAYBE_TEXT,
        sentiment=_TEXT,
        score=_NUMBER,
        version=_TEXT,
        purpose={"enum": ["accuracy", "comparison", "unsure", "unusual", "agreement"]},
    ),
)
_LABEL = _object("Label", prediction_id=_TEXT, label=_MAYBE_TEXT)
_AGREEMENT = _object(
    "Agreement",
    labels={"type": "object", "additionalProperties": _COUNT, "description": "Number of labels by person."},
    pairs={**_COUNT, "description": "Answers that two people labelled."},
    agreeing=_COUNT,
    kappa={**_MAYBE_NUMBER, "description": "Cohen's kappa; null if not defined."},
)
_LABELLED = _object(
    "Labelled",
    answers=_list(
        prediction_id=_TEXT,
        at=_NUMBER,
        text={**_MAYBE_TEXT, "description": "As stored (POLARITY_LOG_TEXTS); null on a server without keys."},
        sentiment=_TEXT,
        score=_NUMBER,
        version=_TEXT,
        source=_MAYBE_TEXT,
        characters=_COUNT,
        **dict.fromkeys(("words", "links", "mentions", "hashtags", "emoji"), _MAYBE_COUNT),
        unknown_share=_MAYBE_NUMBER,
        script=_MAYBE_TEXT,
        label=_TEXT,
        origin={**_MAYBE_TEXT, "description": "volunteered, review, queue or import"},
        labelled_at=_NUMBER,
    ),
)
_FIGURES = _object(
    "Figures",
    since=_NUMBER,
    until=_NUMBER,
    step_s=_NUMBER,
    versions=_list(version=_TEXT, family=_TEXT, first_at=_NUMBER, last_at=_NUMBER, answers=_COUNT),
    answers=_list(at=_NUMBER, version=_TEXT, sentiment=_TEXT, answers=_COUNT, confidence=_NUMBER),
    requests=_list(at=_NUMBER, requests=_COUNT, errors=_COUNT, refused=_COUNT, p50=_MAYBE_NUMBER, p95=_MAYBE_NUMBER),
    measures={
        **_list(
            name=_TEXT,
            source=_TEXT,
            version=_TEXT,
            since=_NUMBER,
            until=_NUMBER,
            value=_NUMBER,
            low=_MAYBE_NUMBER,
            high=_MAYBE_NUMBER,
            of=_COUNT,
            method=_TEXT,
        ),
        "description": "The monitor's estimates with their 95 % intervals, the last one of each hour.",
    },
    drift=_list(version=_TEXT, since=_NUMBER, until=_NUMBER, answers=_COUNT, effect=_NUMBER, summary=_TEXT),
    alerts=_list(rule=_TEXT, source=_TEXT, severity=_TEXT, summary=_TEXT, started_at=_NUMBER, ended_at=_MAYBE_NUMBER),
    challenger={
        "anyOf": [
            _object(share=_NUMBER, clients=_NUMBER, version=_TEXT, phase=_TEXT, since=_NUMBER, by=_TEXT, reason=_TEXT),
            {"type": "null"},
        ]
    },
)
_REFUSAL = _object("Refusal", detail=_TEXT)
_REASONS = {
    401: "A valid key is required.",
    404: "The answer is not assigned to this person, or the label is too old to be taken back.",
    409: "The answer already has a different label.",
    503: "The record is off, or does not respond.",
}


def _responses(*refusals: int, **answers: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    found: dict[int | str, dict[str, Any]] = {int(name[1:]): answer for name, answer in answers.items()}
    for status in (401, *refusals, 503):
        found[status] = json_answer(_REASONS[status], _REFUSAL)
    found[422] = {"description": "The request does not match the schema; `detail[0].loc` is the location."}
    return found


def _body(kind: type[msgspec.Struct]) -> dict[str, Any]:
    (schema,), components = msgspec.json.schema_components([kind], ref_template="{name}")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": components[schema["$ref"]]}}}}


async def _answer(request: Request, name: str, body: bytes) -> Response:
    contract = contract_of(request)
    handler: Handler = getattr(RecordRoutes(contract), name)
    return response_of(await contract.answer(handler, body, request.headers.raw))


def _query(request: Request) -> bytes:
    return msgspec.json.encode(dict(request.query_params))


@router.post(
    "/review/claim",
    summary="The next answers for somebody to label, which nobody else gets meanwhile",
    description=f"At most {MAX_CLAIMED} at once; for ten minutes, unless they are labelled before.",
    responses=_responses(s200=json_answer("What to label, the most important first.", _CLAIMED)),
    openapi_extra=_body(ClaimRequest),
)
async def claim(request: Request) -> Response:
    return await _answer(request, "claim", await request.body())


@router.post(
    "/review/label",
    summary="The label of an answer that somebody has, or null to take it back",
    status_code=201,
    responses=_responses(
        404, 409, s201=json_answer("Stored.", _LABEL), s200=json_answer("Already stored, or taken back.", _LABEL)
    ),
    openapi_extra=_body(LabelRequest),
)
async def label(request: Request) -> Response:
    return await _answer(request, "label", await request.body())


@router.get(
    "/review/agreement",
    summary="Who labelled how much, and how well people agree",
    responses=_responses(s200=json_answer("The agreement.", _AGREEMENT)),
)
async def agreement(request: Request) -> Response:
    return await _answer(request, "agreement", b"")


_TIME = Query(None, description="Seconds since 1970.")


@router.get(
    "/labelled",
    summary="Answers with their true labels",
    responses=_responses(s200=json_answer("The latest labels first.", _LABELLED)),
)
async def labelled(
    request: Request,
    since: str | None = _TIME,
    until: str | None = _TIME,
    version: str | None = None,
    limit: str | None = Query(None, description=f"At most {MAX_LABELLED}."),
) -> Response:
    return await _answer(request, "labelled", _query(request))


@router.get(
    "/figures",
    summary="What was answered, how fast, what was estimated and noticed, step by step",
    responses=_responses(s200=json_answer("The figures.", _FIGURES)),
)
async def figures(
    request: Request,
    since: str | None = _TIME,
    until: str | None = _TIME,
    version: str | None = None,
    step: str | None = Query(None, description="Seconds, at least 60."),
) -> Response:
    return await _answer(request, "figures", _query(request))
