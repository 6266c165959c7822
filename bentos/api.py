"""The contract as a FastAPI application: its OpenAPI document and the infrequent routes.

Behind the door, predictions do not pass through here. On its own, this
application still implements the whole contract, except for what the door handles
before it: HEAD, trailing slashes and compressed bodies.
"""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse

from polarity import __version__
from polarity.serving.contract import (
    MAX_REVIEW,
    BatchRequest,
    Contract,
    FeedbackRequest,
    Handler,
    PredictRequest,
    Reply,
    requested_language,
)
from polarity.serving.rules import MAX_CHARACTERS, MAX_TEXTS, message

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
        "waiting": {"type": "integer", "description": "Answers that were drawn for labelling and have no label yet."},
        "items": {
            "type": "array",
            "maxItems": MAX_REVIEW,
            "description": "The latest of them. Send the true label to /feedback with `review: true`.",
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
                },
                "required": ["prediction_id", "at", "text", "sentiment", "score", "version", "draw_probability"],
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
        "problem": {"type": ["string", "null"]},
    },
    "required": ["model", "record", "problem"],
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
    415: "The body's `Content-Encoding` is not gzip or deflate.",
    429: "Too many requests at once; retry after `Retry-After` seconds.",
    503: "The model or the prediction log is not available.",
    504: "The model did not answer in time.",
}


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _responses(*refusals: int, **answers: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    responses: dict[int | str, dict[str, Any]] = {int(name[1:]): answer for name, answer in answers.items()}
    for status in (401, 408, 413, 415, *refusals):
        responses[status] = _json(_REFUSALS[status], _DETAIL)
    responses[422] = _json("The body does not match the schema; `detail[0].loc` is the location.", _DETAILS)
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
)
api.state.contract = None


def attach(contract: Contract) -> None:
    """Serve `contract` from now on, and list its labels in the document."""
    api.state.contract = contract
    feedback_body = api.openapi()["paths"]["/feedback"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    feedback_body["properties"]["label"]["enum"] = list(contract.served.manifest.labels)


def _contract(request: Request) -> Contract:
    contract: Contract | None = request.app.state.contract
    if contract is None:
        raise HTTPException(503, message("away", requested_language(request.headers.raw)))
    return contract


def _response(reply: Reply) -> Response:
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    return Response(reply.body, reply.status, headers, media_type="application/json")


async def _answer(request: Request, name: str) -> Response:
    contract = _contract(request)
    handler: Handler = getattr(contract, name)
    return _response(await contract.answer(handler, await request.body(), request.headers.raw))


@api.get("/", summary="The served model")
async def index(request: Request) -> Response:
    return JSONResponse(_contract(request).index(request.scope.get("root_path", "")))


@api.get("/model", summary="The model card")
async def model(request: Request) -> Response:
    return JSONResponse(_contract(request).card())


@api.post(
    "/predict",
    summary="The sentiment of one text",
    responses=_responses(400, 429, 503, 504, s200=_json("The prediction.", _PREDICTION)),
    openapi_extra=_body(PredictRequest, text={"minLength": 1, "maxLength": MAX_CHARACTERS}),
)
async def predict(request: Request) -> Response:
    return await _answer(request, "predict")


@api.post(
    "/predict/batch",
    summary=f"The sentiments of 1 to {MAX_TEXTS} texts",
    responses=_responses(429, 503, 504, s200=_json("The predictions.", _PREDICTIONS)),
    openapi_extra=_body(
        BatchRequest, texts={"description": "Texts as for /predict. Each invalid one is refused individually."}
    ),
)
async def predict_batch(request: Request) -> Response:
    return await _answer(request, "predict_batch")


@api.post(
    "/explain",
    summary="The contribution of each word to a text's sentiment",
    responses=_responses(400, 429, 503, 504, s200=_json("The explanation.", _EXPLANATION)),
    openapi_extra=_body(PredictRequest, text={"minLength": 1, "maxLength": MAX_CHARACTERS}),
)
async def explain(request: Request) -> Response:
    return await _answer(request, "explain")


@api.post(
    "/feedback",
    summary="The true label of a prediction",
    status_code=201,
    responses=_responses(404, 409, 503, s201=_json("Stored.", _FEEDBACK), s200=_json("Already stored.", _FEEDBACK)),
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
    responses=_responses(503, s200=_json("How many there are, and the latest.", _REVIEW)),
)
async def review(request: Request) -> Response:
    return await _answer(request, "review")


@api.get(
    "/status",
    summary="What is served, the last hour, what waits and which alerts fire",
    responses=_responses(s200=_json("The status.", _STATUS)),
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
