"""The routes of Label Studio's protocol; see `polarity.serving.label_studio`.

They are not in the document of the contract: the protocol is Label Studio's.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from bentos.replies import contract_of, response_of
from polarity.serving.contract import Handler
from polarity.serving.label_studio import PREFIX, LabelStudio

router = APIRouter(prefix=PREFIX, include_in_schema=False)


async def _answer(request: Request, name: str) -> Response:
    contract = contract_of(request)
    handler: Handler = getattr(LabelStudio(contract), name)
    return response_of(await contract.answer(handler, await request.body(), request.headers.raw))


@router.post("/setup")
async def setup(request: Request) -> Response:
    return await _answer(request, "setup")


@router.post("/predict")
async def predict(request: Request) -> Response:
    return await _answer(request, "predict")


@router.post("/webhook")
async def webhook(request: Request) -> Response:
    return await _answer(request, "webhook")


@router.get("/health")
@router.get("/metrics")
async def health(request: Request) -> Response:
    return await _answer(request, "health")
