"""The challenger as this server sees it: a request for answers, and what its response must be."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import aiohttp
import msgspec

from polarity.record.answer import Served

MIRRORED = b"x-polarity-mirrored"
"""Header of a request to a challenger, which passes it on to no challenger of its own and does not record it."""

_BYTES_PER_ANSWER, _BYTES_AT_LEAST = 2_048, 65_536
_MAX_NAME = 64


class BadAnswer(Exception):
    """The challenger's response is none of this contract."""


class ChallengerAnswer(NamedTuple):
    """An answer, by which model it was given, and its probabilities by label."""

    sentiment: str
    score: float
    probabilities: dict[str, float]
    served: Served


class _Model(msgspec.Struct, frozen=True):
    family: str = ""
    version: str = ""
    bento: str = ""


class _Prediction(msgspec.Struct, gc=False):
    """An item of the response: a prediction, or the error of a text that is refused."""

    error: str = ""
    sentiment: str = ""
    score: float = 0.0
    probabilities: dict[str, float] = {}
    model: _Model = _Model()


class _Answered(msgspec.Struct):
    predictions: list[_Prediction]


def session_for(*, connections: int, timeout_s: float, key: str) -> aiohttp.ClientSession:
    """A session for a challenger; `key` is the API key that it requires, or empty."""
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", MIRRORED.decode(): "1"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        timeout=aiohttp.ClientTimeout(timeout_s),
        headers=headers,
        # A compressed answer of a few bytes could be as large as memory once it is read.
        auto_decompress=False,
    )


async def ask(
    session: aiohttp.ClientSession, address: str, texts: Sequence[str], labels: Collection[str]
) -> list[ChallengerAnswer | None]:
    """The challenger's answers, in the order of the texts; None for a text that it refuses.

    Raises
    ------
    BadAnswer
        If the response, or one of its answers, is none of this contract; nothing of it is used then.
    aiohttp.ClientError, OSError, TimeoutError
        If there is no response.
    """
    limit = _BYTES_AT_LEAST + _BYTES_PER_ANSWER * len(texts)
    url = f"{address.rstrip('/')}/predict/batch"
    async with session.post(url, data=_body(texts), allow_redirects=False) as response:
        if response.status != 200:
            raise BadAnswer(f"status {response.status}")
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > limit:
                raise BadAnswer("a response that is too long")
    try:
        answers = msgspec.json.decode(bytes(body), type=_Answered).predictions
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer("a body of another shape") from error
    if len(answers) != len(texts):
        raise BadAnswer(f"{len(answers)} answers to {len(texts)} texts")
    return _checked(answers, labels)


def _checked(predictions: Sequence[_Prediction], labels: Collection[str]) -> list[ChallengerAnswer | None]:
    names = frozenset(labels)
    models: dict[_Model, Served] = {}
    answers: list[ChallengerAnswer | None] = []
    for one in predictions:
        if one.error:
            answers.append(None)
            continue
        if (served := models.get(one.model)) is None:
            served = models[one.model] = _served(one.model)
        given, score = one.probabilities, one.score
        if given.keys() != names:
            raise BadAnswer("other labels than the champion's")
        if score != given.get(one.sentiment) or score > 1 or min(given.values()) < 0:
            raise BadAnswer("probabilities that are none")
        if score < max(given.values()):
            raise BadAnswer("a sentiment that is not its likeliest")
        answers.append(ChallengerAnswer(one.sentiment, score, {label: given[label] for label in labels}, served))
    return answers


def _served(model: _Model) -> Served:
    names = model.family, model.version, model.bento
    if not model.version or not all(len(name) <= _MAX_NAME and name.isprintable() for name in names):
        raise BadAnswer("no version of its model")
    return Served(*names)


def _body(texts: Sequence[str]) -> bytes:
    try:
        return msgspec.json.encode({"texts": texts})
    except UnicodeEncodeError:
        return msgspec.json.encode({"texts": [text.encode("utf-8", "replace").decode() for text in texts]})
