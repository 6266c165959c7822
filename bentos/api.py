"""The contract as a FastAPI application: its OpenAPI document and the infrequent routes.

Behind the door, predictions do not pass through here. On its own, this
application still implements the whole contract, except for what the door handles
before it: HEAD, trailing slashes and compressed bodies.
"""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse

from bentos import inference_api, label_studio_api, record_api
from bentos.replies import contract_of, json_answer, prefers_html, response_of
from bentos.stream import CONTENT_TYPE, Lines
from polarity import __version__
from polarity.serving.contract import (
    MAX_REVIEW,
    BatchRequest,
    Contract,
    FeedbackRequest,
    Handler,
    PredictRequest,
)
from polarity.serving.rules import MAX_CHARACTERS, MAX_TEXTS

NDJSON = CONTENT_TYPE.decode()
# The page has no script, and loads nothing.
_PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PROBABILITY = {"type": "number", "minimum": 0, "maximum": 1}
_IDENTITY = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("family", "version", "bento")},
    "required": ["family", "version", "bento"],
}
_PREDICTION = {
    "title": "Prediction",
    "type": "object",
    "properties": {
        "prediction_id": {"type": "string"},
        "sentiment": {"type": "string"},
        "score": {**_PROBABILITY, "description": "Probability of the winning class."},
        "probabilities": {"type": "object", "additionalProperties": _PROBABILITY},
        "model": _IDENTITY,
    },
    "required": ["prediction_id", "sentiment", "score", "probabilities", "model"],
    "additionalProperties": False,
}
_PREDICTIONS = {
    "title": "Predictions",
    "type": "object",
    "properties": {
        "predictions": {
            "type": "array",
            "description": "In the order of the texts. For a refused text, the item is the reason.",
            "items": {
                "anyOf": [
                    _PREDICTION,
                    {
                        "type": "object",
                        "properties": {"error": {"type": "string"}},
                        "required": ["error"],
                        "additionalProperties": False,
                    },
                ]
            },
        }
    },
    "required": ["predictions"],
}
_EXPLANATION = {
    "title": "Explanation",
    "type": "object",
    "properties": {
        **{name: _PREDICTION["properties"][name] for name in ("sentiment", "score", "probabilities", "model")},  # type: ignore[index]
        "method": {
            "enum": ["exact", "occlusion"],
            "description": "`exact`: base and shares sum to the lead; `occlusion`: its decrease without the word.",
        },
        "base": {"type": "number", "description": "The lead of the sentiment in an empty text."},
        "words": {
            "type": "array",
            "description": "In the order of the text. A share is the word's contribution to the lead: the logarithm of "
            "the sentiment's probability minus the mean of the others'.",
            "items": {
                "type": "object",
                "properties": {"word": {"type": "string"}, "share": {"type": "number"}},
                "required": ["word", "share"],
            },
        },
    },
    "required": ["sentiment", "score", "probabilities", "method", "base", "words", "model"],
}
_FEEDBACK = {
    "type": "object",
    "properties": {"prediction_id": {"type": "string"}, "label": {"type": "string"}},
    "required": ["prediction_id", "label"],
}
_REVIEW = {
    "title": "Review",
    "type": "object",
    "properties": {
        "waiting": {
            "type": "integer",
            "description": "Answers that people are asked to label and that have no label yet.",
        },
        "items": {
            "type": "array",
            "maxItems": MAX_REVIEW,
            "description": "For a comparison first, the latest first. Labels go to /feedback with `review: true`.",
            "items": {
                "type": "object",
                "properties": {
                    "prediction_id": {"type": "string"},
                    "at": {"type": "number", "description": "Seconds since 1970."},
                    "text": {
                        "type": ["string", "null"],
                        "description": "As stored (POLARITY_LOG_TEXTS); null on a server without keys.",
                    },
                    "sentiment": {"type": "string"},
                    "score": _PROBABILITY,
                    "version": {"type": "string"},
                    "draw_probability": _PROBABILITY,
                    "purpose": {
                        "enum": ["accuracy", "comparison"],
                        "description": "To estimate the accuracy, or to compare the model with a challenger.",
                    },
                },
                "required": [
                    "prediction_id",
                    "at",
                    "text",
                    "sentiment",
                    "score",
                    "version",
                    "draw_probability",
                    "purpose",
                ],
                "additionalProperties": False,
            },
        },
    },
    "required": ["waiting", "items"],
}
_MOMENT = {"type": ["number", "null"], "description": "Seconds since 1970; null: never."}
_COUNT = {"type": "integer", "minimum": 0}
_STATUS = {
    "title": "Status",
    "type": "object",
    "properties": {
        "model": _IDENTITY,
        "record": {
            "type": ["object", "null"],
            "description": "Null if nothing is recorded, or the record cannot be read; `problem` says why.",
            "properties": {
                "at": {"type": "number"},
                "served": {"type": ["string", "null"], "description": "The Bento of the last recorded minute."},
                "served_since": _MOMENT,
                "last_minute_at": _MOMENT,
                "requests": {**_COUNT, "description": "Of the last hour, like the next five."},
                "errors": _COUNT,
                "refused": _COUNT,
                "p95_latency": {"type": ["number", "null"], "description": "Seconds."},
                "answers": {"type": "object", "additionalProperties": _COUNT, "description": "By sentiment."},
                "waiting": {**_COUNT, "description": "Rows that wait for the database."},
                "oldest_waiting_s": {"type": "number"},
                "last_label_at": _MOMENT,
                "to_review": _COUNT,
                "alerts": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            **{name: {"type": "string"} for name in ("rule", "source", "severity", "summary")},
                            "since": {"type": "number"},
                        },
                        "required": ["rule", "source", "severity", "summary", "since"],
                    },
                },
                "unsent": {**_COUNT, "description": "Notices that no receiver has accepted yet."},
            },
        },
        "following": {
            "type": ["object", "null"],
            "description": "The tag that the server follows; `problem` says why its Bento is not the served one.",
            "properties": {"tag": {"type": "string"}, "problem": {"type": ["string", "null"]}},
            "required": ["tag", "problem"],
        },
        "problem": {"type": ["string", "null"], "description": "Of the record."},
    },
    "required": ["model", "following", "record", "problem"],
}
_DETAIL = {"title": "Refusal", "type": "object", "properties": {"detail": {"type": "string"}}, "required": ["detail"]}
_DETAILS = {
    "title": "Invalid",
    "type": "object",
    "properties": {
        "detail": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "type": {"type": "string"},
                    "loc": {"type": "array", "items": {"type": "string"}},
                    "msg": {"type": "string"},
                },
                "required": ["type", "loc", "msg"],
            },
        }
    },
    "required": ["detail"],
}
_REFUSALS = {
    400: "The text is blank or just a number.",
    401: "A valid key is required.",
    404: "Unknown prediction.",
    408: "The body arrives too slowly.",
    409: "The prediction already has a different label.",
    413: "The body is too large, or would be when decompressed.",
    415: "The body's `Content-Encoding` is not gzip or deflate, or a stream has one.",
    429: "Too many requests at once; retry after `Retry-After` seconds.",
    503: "The model or the prediction log is not available.",
    504: "The model did not answer in time.",
}


def _responses(*refusals: int, **answers: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    responses: dict[int | str, dict[str, Any]] = {int(name[1:]): answer for name, answer in answers.items()}
    for status in (401, 408, 413, 415, *refusals):
        responses[status] = json_answer(_REFUSALS[status], _DETAIL)
    responses[422] = json_answer("The body does not match the schema; `detail[0].loc` is the location.", _DETAILS)
    return responses


def _body(kind: type[msgspec.Struct], **properties: dict[str, Any]) -> dict[str, Any]:
    (schema,), components = msgspec.json.schema_components([kind], ref_template="{name}")
    inline = components[schema["$ref"]]
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        **inline,
                        "properties": {
                            name: {**inline["properties"][name], **more} for name, more in properties.items()
                        },
                    }
                }
            },
        }
    }


api = FastAPI(
    title="Polarity",
    version=__version__,
    description="Sentiment classification of tweets. Messages are in French, or in English with `Accept-Language: en`.",
    docs_url=None,
    redoc_url=None,
    redirect_slashes=False,
    # What a client that is generated from the document calls its functions.
    generate_unique_id_function=lambda route: route.name,
)
api.state.contract = None


def bentoml_routes() -> list[dict[str, Any]]:
    """The operations that take a JSON body, as BentoML's clients read them: they make a method of each."""
    routes = []
    for path, operations in api.openapi()["paths"].items():
        operation = operations.get("post")
        if operation is None or "application/json" not in operation["requestBody"]["content"]:
            continue
        success = min(status for status in operation["responses"] if status.startswith("2"))
        routes.append(
            {
                "name": operation["operationId"],
                "route": path,
                "description": operation["summary"],
                "batchable": False,
                "input": operation["requestBody"]["content"]["application/json"]["schema"],
                "output": operation["responses"][success]["content"]["application/json"]["schema"],
                "is_task": False,
            }
        )
    return routes


def attach(contract: Contract) -> None:
    """Serve `contract` from now on, and list its labels in the document."""
    api.state.contract = contract
    feedback_body = api.openapi()["paths"]["/feedback"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    feedback_body["properties"]["label"]["enum"] = list(contract.served.manifest.labels)


async def _answer(request: Request, name: str) -> Response:
    contract = contract_of(request)
    handler: Handler = getattr(contract, name)
    return response_of(await contract.answer(handler, await request.body(), request.headers.raw))


@api.get("/", summary="The served model")
async def index(request: Request) -> Response:
    return JSONResponse(contract_of(request).index(request.scope.get("root_path", "")))


@api.get(
    "/model",
    summary="The model card, with the dossier as JSON or, for browsers, as a page",
    responses={200: {"description": "The card.", "content": {"text/html": {"schema": {"type": "string"}}}}},
)
async def model(request: Request) -> Response:
    contract, vary = contract_of(request), {"vary": "Accept"}
    if prefers_html(request.headers.get("accept", "")) and (page := contract.dossier_page()) is not None:
        return HTMLResponse(page, headers={**vary, "content-security-policy": _PAGE_POLICY})
    return JSONResponse(contract.card(), headers=vary)


@api.post(
    "/predict",
    summary="The sentiment of one text",
    responses=_responses(400, 429, 503, 504, s200=json_answer("The prediction.", _PREDICTION)),
    openapi_extra=_body(PredictRequest, text={"minLength": 1, "maxLength": MAX_CHARACTERS}),
)
async def predict(request: Request) -> Response:
    return await _answer(request, "predict")


@api.post(
    "/predict/batch",
    summary=f"The sentiments of 1 to {MAX_TEXTS} texts",
    responses=_responses(429, 503, 504, s200=json_answer("The predictions.", _PREDICTIONS)),
    openapi_extra=_body(
        BatchRequest,
        texts={"items": {}, "description": "Texts as for /predict. Each invalid one is refused individually."},
    ),
)
async def predict_batch(request: Request) -> Response:
    return await _answer(request, "predict_batch")


@api.post(
    "/predict/stream",
    summary="The sentiments of any number of texts, as they are answered",
    responses={
        **_responses(503),
        200: {
            "description": "JSON lines in the order of the request's: a prediction, or the reason of a refusal.",
            "content": {NDJSON: {"schema": {"type": "string"}}},
        },
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "JSON lines, each like the body of /predict; blank ones are left out.",
            "content": {NDJSON: {"schema": {"type": "string"}}},
        }
    },
)
async def predict_stream(request: Request) -> Response:
    lines = Lines().feed(await request.body(), last=True)
    return Response(await contract_of(request).predict_lines(lines, request.headers.raw), media_type=NDJSON)


@api.post(
    "/explain",
    summary="The contribution of each word to a text's sentiment",
    responses=_responses(400, 429, 503, 504, s200=json_answer("The explanation.", _EXPLANATION)),
    openapi_extra=_body(PredictRequest, text={"minLength": 1, "maxLength": MAX_CHARACTERS}),
)
async def explain(request: Request) -> Response:
    return await _answer(request, "explain")


@api.post(
    "/feedback",
    summary="The true label of a prediction",
    status_code=201,
    responses=_responses(
        404, 409, 503, s201=json_answer("Stored.", _FEEDBACK), s200=json_answer("Already stored.", _FEEDBACK)
    ),
    openapi_extra=_body(
        FeedbackRequest,
        prediction_id={},
        label={"description": "One of the model's labels."},
        review={"description": "The label answers an item of /review."},
    ),
)
async def feedback(request: Request) -> Response:
    return await _answer(request, "feedback")


@api.get(
    "/review",
    summary="Answers that wait for a label",
    responses=_responses(503, s200=json_answer("How many there are, and the latest.", _REVIEW)),
)
async def review(request: Request) -> Response:
    return await _answer(request, "review")


@api.get(
    "/status",
    summary="What is served, the last hour, what waits and which alerts fire",
    responses=_responses(s200=json_answer("The status.", _STATUS)),
)
async def status(request: Request) -> Response:
    return await _answer(request, "status")


@api.get("/docs", include_in_schema=False)
async def docs(request: Request) -> HTMLResponse:
    # The browser resolves relative links against the requested path.
    up = "../" if (request.scope.get("raw_path") or b"").endswith(b"/") else ""
    page = get_swagger_ui_html(
        openapi_url=f"{up}openapi.json",
        title="Polarity",
        # BentoML's own copies, so that the page works offline.
        swagger_js_url=f"{up}static_content/swagger-ui-bundle.js",
        swagger_css_url=f"{up}static_content/swagger-ui.css",
        swagger_favicon_url=f"{up}static_content/favicon-light-32x32.png",
    )
    page.headers["content-security-policy"] = (
        "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
    )
    return page


for module in (record_api, label_studio_api, inference_api):
    api.include_router(module.router)
