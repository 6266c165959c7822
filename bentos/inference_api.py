"""The routes of the Open Inference Protocol; see `polarity.serving.inference_protocol`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from bentos.replies import contract_of, response_of
from polarity.serving import inference_protocol as protocol
from polarity.serving.contract import Contract, Reply

ROUTE = f"/v2/models/{protocol.MODEL}"
INFER = f"{ROUTE}/infer"
READY = frozenset({"/v2/health/ready", f"{ROUTE}/ready"})
LIVE = "/v2/health/live"

# The protocol has a specification of its own, and is no part of our document.
router = APIRouter(prefix="/v2", include_in_schema=False)


@router.get("")
async def server() -> dict[str, Any]:
    return protocol.server()


@router.get("/models/{name}")
@router.get("/models/{name}/versions/{version}")
async def model(request: Request, name: str, version: str | None = None) -> Response:
    contract = contract_of(request)
    if (unknown := _unknown(contract, name, version)) is not None:
        return response_of(unknown)
    return JSONResponse(protocol.model(contract))


@router.get("/models/{name}/versions/{version}/ready")
async def ready(request: Request, name: str, version: str) -> Response:
    return response_of(_unknown(contract_of(request), name, version) or Reply(200, b"{}"))


@router.post("/models/{name}/infer")
@router.post("/models/{name}/versions/{version}/infer")
async def infer(request: Request, name: str, version: str | None = None) -> Response:
    contract = contract_of(request)
    unknown = _unknown(contract, name, version)
    return response_of(unknown or await protocol.infer(contract, await request.body(), request.headers.raw))


def _unknown(contract: Contract, name: str, version: str | None) -> Reply | None:
    if name != protocol.MODEL:
        return protocol.problem(f"There is no model {name[:64]!r}; this server has {protocol.MODEL!r}.", 404)
    served = contract.served.version
    if version is not None and version != served:
        return protocol.problem(f"Version {version[:64]!r} is not served; version {served!r} is.", 404)
    return None
