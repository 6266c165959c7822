"""The Open Inference Protocol (KServe's V2), for clients of KServe, Triton and MLServer.

One input, `text` (BYTES, shape [n] or [n, 1]); the outputs are those of POST /predict/batch as tensors. Texts may be
sent in JSON or by the extension for binary tensors; outputs are always JSON, which its clients read, too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import msgspec

from polarity import __version__
from polarity.serving.batcher import WaitForDisconnect
from polarity.serving.contract import Contract, Headers, Reply, requested_language, too_many_values
from polarity.serving.rules import MAX_TEXTS, refuse

MODEL = "sentiment"
INPUT = "text"
_PLATFORM = "polarity"
_JSON_LENGTH = b"inference-header-content-length"


class _Tensor(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    data: Any = None
    parameters: dict[str, Any] = {}


class _Requested(msgspec.Struct):
    name: str


class InferRequest(msgspec.Struct):
    """Body of POST /v2/models/sentiment/infer; unknown fields and parameters are ignored, as the protocol allows."""

    inputs: list[_Tensor]
    id: str = ""
    outputs: list[_Requested] | None = None


class _WrongError(Exception):
    """The request is not one of the protocol, or not one that this model can answer."""


def server() -> dict[str, Any]:
    """GET /v2."""
    return {"name": "polarity", "version": __version__, "extensions": ["binary_tensor_data"]}


def model(contract: Contract) -> dict[str, Any]:
    """GET /v2/models/sentiment."""
    labels = len(contract.served.manifest.labels)
    return {
        "name": MODEL,
        "versions": [contract.served.version],
        "platform": _PLATFORM,
        "inputs": [{"name": INPUT, "datatype": "BYTES", "shape": [-1], "parameters": {"content_type": "str"}}],
        "outputs": [
            {"name": "sentiment", "datatype": "BYTES", "shape": [-1], "parameters": {"content_type": "str"}},
            {"name": "score", "datatype": "FP64", "shape": [-1]},
            {
                "name": "probabilities",
                "datatype": "FP64",
                "shape": [-1, labels],
                "parameters": {"labels": ",".join(contract.served.manifest.labels)},
            },
            {"name": "prediction_id", "datatype": "BYTES", "shape": [-1], "parameters": {"content_type": "str"}},
        ],
    }


def problem(text: str, status: int) -> Reply:
    """An error as the protocol has it."""
    return Reply(status, msgspec.json.encode({"error": text}))


async def infer(contract: Contract, body: bytes, headers: Headers) -> Reply:
    """POST /v2/models/sentiment/infer.

    All texts are answered or none: the protocol has no answer to a part of them. The error names the first that is
    refused.
    """

    async def answer(body: bytes, headers: Headers, disconnected: WaitForDisconnect | None) -> Reply:
        try:
            request, texts = await contract.in_turn(body, lambda: _read(body, headers))
            _check(texts, headers)
            wanted = _wanted(contract, request.outputs)
        except _WrongError as error:
            return Reply(400, msgspec.json.encode({"detail": str(error)}))
        predictions = await contract.predictions(texts, headers, disconnected)
        labels = contract.served.manifest.labels
        found: dict[str, Any] = {
            "model_name": MODEL,
            "model_version": predictions[0]["model"]["version"],
            "outputs": [_output(tensor, predictions, labels) for tensor in wanted],
        }
        if request.id:
            found["id"] = request.id
        return Reply(200, msgspec.json.encode(found))

    reply = await contract.answer(answer, body, headers)
    if reply.status == 200 or not reply.body:
        return reply
    return problem(msgspec.json.decode(reply.body)["detail"], reply.status)._replace(headers=reply.headers)


def _read(body: bytes, headers: Headers) -> tuple[InferRequest, list[str]]:
    length = next((value for name, value in headers if name == _JSON_LENGTH), None)
    binary = b""
    if length is not None:
        if not length.isdigit() or int(length) > len(body):
            raise _WrongError("Inference-Header-Content-Length must be the length of the JSON part of the body.")
        body, binary = body[: int(length)], body[int(length) :]
    if too_many_values(body):
        raise _WrongError(f"Got too many values; a request has 1 to {MAX_TEXTS:,} texts.")
    try:
        request = msgspec.json.decode(body, type=InferRequest)
    except (ValueError, RecursionError) as error:
        raise _WrongError(f"The body is not a request of the Open Inference Protocol: {error}") from None
    if len(request.inputs) != 1 or request.inputs[0].name != INPUT or request.inputs[0].datatype != "BYTES":
        raise _WrongError(f"The model has one input, {INPUT}, of the datatype BYTES.")
    (tensor,) = request.inputs
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        texts = list(_flat(tensor.data, depth=2))
    elif size != len(binary):
        raise _WrongError(f"binary_data_size is {size}, but {len(binary)} bytes follow the JSON part.")
    else:
        # Four bytes make an empty string: one more than allowed shows that there are too many.
        texts = list(islice(_from_binary(binary), MAX_TEXTS + 1))
    if not 1 <= len(texts) <= MAX_TEXTS:
        found = f"more than {MAX_TEXTS:,}" if texts else "no"
        raise _WrongError(f"Got {found} texts; a request has 1 to {MAX_TEXTS:,}.")
    if tensor.shape not in ([len(texts)], [len(texts), 1]):
        raise _WrongError(f"The shape is {tensor.shape}, but there are {len(texts)} texts; it must be [n] or [n, 1].")
    return request, texts


def _flat(data: Any, *, depth: int) -> Iterable[str]:
    """The strings of a list, or of a list of lists."""
    if not isinstance(data, list):
        raise _WrongError("The data must be a list of strings.")
    for item in data:
        if isinstance(item, list) and depth > 1:
            yield from _flat(item, depth=depth - 1)
        elif isinstance(item, str):
            yield item
        else:
            raise _WrongError("The data must be a list of strings.")


def _from_binary(data: bytes) -> Iterable[str]:
    """The strings of a binary tensor: each with its length before it, in four bytes, the lowest first."""
    at = 0
    while at < len(data):
        if at + 4 > len(data) or at + 4 + (size := struct.unpack_from("<I", data, at)[0]) > len(data):
            raise _WrongError("The binary data ends within a string.")
        try:
            yield data[at + 4 : at + 4 + size].decode("utf-8")
        except UnicodeDecodeError:
            raise _WrongError("The strings of the binary data must be in UTF-8.") from None
        at += 4 + size


def _check(texts: Sequence[str], headers: Headers) -> None:
    for place, text in enumerate(texts):
        if (refusal := refuse(text)) is not None:
            raise _WrongError(f"{INPUT}[{place}]: {refusal.message(requested_language(headers))}")


def _wanted(contract: Contract, requested: list[_Requested] | None) -> list[dict[str, Any]]:
    outputs = {tensor["name"]: tensor for tensor in model(contract)["outputs"]}
    if not requested:
        return list(outputs.values())
    unknown = [one.name for one in requested if one.name not in outputs]
    if unknown:
        raise _WrongError(f"There is no output {unknown[0]!r}; the outputs are {', '.join(outputs)}.")
    return [outputs[one.name] for one in requested]


def _output(tensor: dict[str, Any], predictions: list[dict[str, Any]], labels: Sequence[str]) -> dict[str, Any]:
    name = tensor["name"]
    data = [one[name] for one in predictions]
    if name == "probabilities":
        data = [one[label] for one in data for label in labels]
    shape = [len(predictions), *tensor["shape"][1:]]
    return {**tensor, "shape": shape, "data": data}
