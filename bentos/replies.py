"""What the FastAPI routes share: the contract that answers, and its replies as responses."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from fastapi import HTTPException, Request, Response

from polarity.serving.contract import Contract, Reply, requested_language
from polarity.serving.rules import message


def contract_of(request: Request) -> Contract:
    """The contract that is served; raises 503 if there is none yet."""
    contract: Contract | None = request.app.state.contract
    if contract is None:
        raise HTTPException(503, message("away", requested_language(request.headers.raw)))
    return contract


def response_of(reply: Reply) -> Response:
    """The reply of a handler as a response."""
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    return Response(reply.body, reply.status, headers, media_type="application/json")


def json_answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    """How the document describes an answer in JSON."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def prefers_html(accept: str) -> bool:
    """Whether an `Accept` header names HTML, as browsers do, before JSON; `*/*` names neither."""
    wanted: dict[str, float] = {}
    for part in accept.split(","):
        kind, *parameters = (one.strip().lower() for one in part.split(";"))
        quality = next((one[2:] for one in parameters if one.startswith("q=")), "1")
        with suppress(ValueError):
            wanted[kind] = float(quality)
    return wanted.get("text/html", 0) > wanted.get("application/json", 0)
