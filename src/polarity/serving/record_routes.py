"""The handlers for people who label and watch: what they read from the record, and what they write to it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec

from polarity.errors import ServiceUnavailable
from polarity.serving.batcher import WaitForDisconnect
from polarity.serving.contract import Contract, Headers, Refused, Reply, decode, invalid

if TYPE_CHECKING:
    from polarity.record.answer import Outcome
    from polarity.record.store import RecordStore

T = TypeVar("T")

_logger = logging.getLogger("bentoml.polarity")

MAX_CLAIMED = 20
MAX_SKIPPED = 500
MAX_LABELLED = 10_000
MIN_STEP_S = 60
MAX_STEPS = 500
_DAY_S = 86_400.0
_STATUSES = {"new": 201, "same": 200}

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class ClaimRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /review/claim; `skipped` are answers that the person leaves to others."""

    labeller: Name
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_CLAIMED)] = 10
    skipped: Annotated[list[str], msgspec.Meta(max_length=MAX_SKIPPED)] = []


class LabelRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /review/label; a label of null takes back the one that was given."""

    labeller: Name
    prediction_id: str
    label: str | None


class LabelledQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Query of GET /labelled; times in seconds since 1970. Default: the last 30 days."""

    since: float | None = None
    until: float | None = None
    version: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LABELLED)] = 5_000


class FiguresQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Query of GET /figures; times and steps in seconds. Default: the last day, in steps of an hour."""

    since: float | None = None
    until: float | None = None
    version: str | None = None
    step: Annotated[float, msgspec.Meta(ge=MIN_STEP_S)] = 3_600.0


class RecordRoutes:
    """The handlers of a contract's routes for people who label and watch.

    Parameters
    ----------
    contract : Contract
    """

    def __init__(self, contract: Contract) -> None:
        self._log = contract.log
        self._labels = contract.served.manifest.labels
        self._private = contract.private

    async def claim(self, body: bytes, headers: Headers, disconnected: WaitForDisconnect | None) -> Reply:
        """POST /review/claim."""
        given = decode(body, ClaimRequest)

        def run(store: RecordStore) -> Any:
            from polarity.record.assignments import claim

            return claim(store, given.labeller, given.limit, skipped=given.skipped)

        found = await self._in_store(run)
        if not self._private:
            items = [msgspec.structs.replace(item, text=None) for item in found.items]
            found = msgspec.structs.replace(found, items=items)
        return Reply(200, msgspec.json.encode(found))

    async def label(self, body: bytes, headers: Headers, disconnected: WaitForDisconnect | None) -> Reply:
        """POST /review/label."""
        given = decode(body, LabelRequest)
        if given.label is not None and given.label not in self._labels:
            raise invalid("label_unknown", "label")

        def run(store: RecordStore) -> Outcome:
            from polarity.record.assignments import label

            return label(store, given.labeller, given.prediction_id, given.label)

        outcome = await self._in_store(run)
        if outcome == "unknown":
            raise Refused(404, "not_assigned")
        if outcome == "other":
            raise Refused(409, "other_label")
        status = 200 if given.label is None else _STATUSES[outcome]
        return Reply(status, msgspec.json.encode({"prediction_id": given.prediction_id, "label": given.label}))

    async def agreement(self, body: bytes, headers: Headers, disconnected: WaitForDisconnect | None) -> Reply:
        """GET /review/agreement."""

        def run(store: RecordStore) -> Any:
            from polarity.record.assignments import agreement

            return agreement(store)

        return Reply(200, msgspec.json.encode(await self._in_store(run)))

    async def labelled(self, body: bytes, headers: Headers, disconnected: WaitForDisconnect | None) -> Reply:
        """GET /labelled."""
        given = _query(body, LabelledQuery)

        def run(store: RecordStore) -> Any:
            from polarity.record.history import Span
            from polarity.record.labelled_answers import labelled_answers

            until = given.until if given.until is not None else time.time()
            since = given.since if given.since is not None else until - 30 * _DAY_S
            return labelled_answers(store, Span(since, until), given.limit, given.version)

        found = await self._in_store(run, reading=True)
        if not self._private:
            found = [msgspec.structs.replace(answer, text=None) for answer in found]
        return Reply(200, msgspec.json.encode({"answers": found}))

    async def figures(self, body: bytes, headers: Headers, disconnected: WaitForDisconnect | None) -> Reply:
        """GET /figures."""
        given = _query(body, FiguresQuery)
        until = given.until if given.until is not None else time.time()
        since = given.since if given.since is not None else until - _DAY_S
        if not 0 <= until - since <= MAX_STEPS * given.step:
            raise invalid("too_many_steps", "step")

        def run(store: RecordStore) -> Any:
            from polarity.record.figures import read_figures
            from polarity.record.history import Span

            return read_figures(store, Span(since, until), given.step, given.version)

        return Reply(200, msgspec.json.encode(await self._in_store(run, reading=True)))

    async def _in_store(self, task: Callable[[RecordStore], T], *, reading: bool = False) -> T:
        if self._log is None:
            raise Refused(503, "no_log")
        try:
            return await self._log.in_store(task, reading=reading)
        except ServiceUnavailable as error:
            _logger.warning("The record could not be used: %s", error)
            raise Refused(503, "record_away", (b"retry-after", b"1")) from error


S = TypeVar("S", bound=msgspec.Struct)


def _query(body: bytes, kind: type[S]) -> S:
    """The parameters of a query, which arrive as a JSON object of strings."""
    given: dict[str, str] = msgspec.json.decode(body)
    names = {field.name: field for field in msgspec.structs.fields(kind)}
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name not in names:
            raise invalid("extra_forbidden")
        try:
            found[name] = msgspec.convert(value, names[name].type, strict=False)
        except msgspec.ValidationError:
            raise invalid("parameter", name) from None
    return kind(**found)
