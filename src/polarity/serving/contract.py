"""The HTTP contract independent of any HTTP server: request bodies in, statuses and response bodies out."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Protocol, TypeVar

import msgspec

from polarity.errors import PolarityError, ServiceUnavailable
from polarity.inference.explanation import explain
from polarity.inference.package import ModelManifest
from polarity.record.answer import Answer, Origin, Outcome, Review
from polarity.record.prediction_id import prediction_id
from polarity.record.prediction_log import RecordUnavailable
from polarity.record.review import ReviewDraw
from polarity.serving import metrics
from polarity.serving.batcher import Backend, Busy, ClientDisconnected, Timing, TooSlow, WaitForDisconnect, retry_after
from polarity.serving.request_trace import Dependency, current_trace
from polarity.serving.rules import MAX_TEXTS, Language, language_of, message, refuse

if TYPE_CHECKING:
    from polarity.record.status import RecordStatus

_logger = logging.getLogger("bentoml.polarity")

S = TypeVar("S", bound=msgspec.Struct)
Headers = Iterable[tuple[bytes, bytes]]

_OUTCOMES = {"new": 201, "same": 200, "other": 409, "unknown": 404}
_MAX_PROBLEMS = 10
_MAX_SOURCE = 64
MAX_REVIEW = 100
# Decoding 4 MiB of empty lists takes a second; no valid body has more values than a tenth of this.
_MAX_VALUES = 10 * MAX_TEXTS


class PredictRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /predict."""

    text: str


class BatchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /predict/batch. An item that is not a string is refused individually."""

    texts: Annotated[list[Any], msgspec.Meta(min_length=1, max_length=MAX_TEXTS)]


class FeedbackRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /feedback; `review` says that the label answers an item of GET /review."""

    prediction_id: str
    label: str
    review: bool = False


class Reply(NamedTuple):
    """A JSON response; status 0 means that the client has disconnected."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Refused(PolarityError):
    """The request is answered with an error status."""

    def __init__(
        self,
        status: int,
        code: str,
        *headers: tuple[bytes, bytes],
        problems: Sequence[tuple[str, tuple[str, ...]]] = (),
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.headers = headers
        self.problems = problems

    def reply(self, language: Language) -> Reply:
        """The refusal as a response; field names are the only client input that it echoes."""
        detail: Any = message(self.code, language)
        if self.problems:
            detail = [
                {"type": code, "loc": ["body", *path], "msg": message(code, language)} for code, path in self.problems
            ]
        return Reply(self.status, msgspec.json.encode({"detail": detail}), self.headers)


def invalid(code: str, *path: str) -> Refused:
    """A 422 for one field of the body, or for the whole body if `path` is empty."""
    return Refused(422, code, problems=[(code, path)])


@dataclass(frozen=True)
class Served:
    """The model that is served."""

    manifest: ModelManifest
    version: str
    bento: str

    @property
    def identity(self) -> dict[str, str]:
        """The fields that identify the model in every prediction."""
        return {"family": self.manifest.family, "version": self.version, "bento": self.bento}


Handler = Callable[[bytes, Headers, WaitForDisconnect | None], Awaitable[Reply]]


class Log(Protocol):
    """Where answers and labels are recorded; see `polarity.record.prediction_log.PredictionLog`."""

    def add(self, answer: Answer) -> None: ...
    def stored(self) -> Awaitable[None] | None: ...
    async def feedback(self, prediction_id: str, label: str, origin: Origin) -> Outcome: ...
    async def review(self, limit: int) -> Review: ...
    async def status(self) -> RecordStatus: ...


class PredictionWatch(Protocol):
    """Observes answers as they are given. Its methods must not raise."""

    def predicted(self, answer: Answer) -> None: ...


class Contract:
    """The handlers of the contract's routes.

    Parameters
    ----------
    served : Served
        The model behind `backend`.
    backend : Backend
        Returns probabilities in the order of the manifest's labels.
    explainer : Backend or None
        Returns each word's contribution to the logits, as `Predictor.explain` does. If `None`, explanations use
        occlusion with `backend`.
    log : Log or None
        Stores predictions and feedback. If `None`, nothing is stored, and feedback is refused with 503.
    review_share : float
        Expected share of the answers that is drawn for labelling by people.
    private : bool
        Whether only holders of a key are answered; nobody else is shown stored texts.
    watch : PredictionWatch, optional
        Sees every answer.
    """

    def __init__(
        self,
        served: Served,
        backend: Backend,
        log: Log | None,
        *,
        explainer: Backend | None = None,
        review_share: float = 0.0,
        private: bool = False,
        watch: PredictionWatch | None = None,
    ) -> None:
        self.served = served
        self._backend = backend
        self._explainer = explainer
        self._log = log
        self._draw = ReviewDraw(review_share)
        self._private = private
        self._watch = watch
        self._labels = served.manifest.labels
        self._identity = served.identity

    async def answer(
        self, handler: Handler, body: bytes, headers: Headers, disconnected: WaitForDisconnect | None = None
    ) -> Reply:
        """The response of `handler` to `body`, or the refusal; never raises."""
        refused: Refused
        try:
            return await handler(body, headers, disconnected)
        except Refused as error:
            refused = error
        except ClientDisconnected:
            refused = Refused(0, "gone")
        except Busy as error:
            refused = _too_many(retry_after(error.retry_after_s))
        except TooSlow:
            _note_failure("model")
            refused = Refused(504, "too_slow")
        except RecordUnavailable:
            _note_failure("record")
            refused = Refused(503, "not_recorded", (b"retry-after", b"1"))
        except ServiceUnavailable:
            _note_failure("model")
            refused = Refused(503, "away", (b"retry-after", b"1"))
        except Exception:
            _logger.exception("Unexpected error while handling a request.")
            refused = Refused(500, "failed")
        metrics.refused(refused.code)
        return refused.reply(requested_language(headers))

    def overloaded(self, headers: Headers = (), *, incoming: int = 0) -> Reply | None:
        """The refusal that any body would get now, or `None` if the server is not overloaded.

        Cheaper than reading the body.

        Parameters
        ----------
        incoming : int
            Requests that were admitted but have not arrived here yet.
        """
        wait_s = self._backend.retry_delay_s(incoming=incoming)
        return None if wait_s is None else _overloaded_reply(retry_after(wait_s), requested_language(headers))

    async def predict(self, body: bytes, headers: Headers, disconnected: WaitForDisconnect | None) -> Reply:
        """POST /predict."""
        text = _text(body)
        timing = Timing()
        rows = await self._backend.predict((text,), disconnected=disconnected, timing=timing)
        _note_model(timing)
        answer = self._prediction(text, rows[0], time.time(), timing, _source(headers))
        await self._stored()
        return Reply(200, msgspec.json.encode(answer))

    async def explain(self, body: bytes, headers: Headers, disconnected: WaitForDisconnect | None) -> Reply:
        """POST /explain."""
        text = _text(body)
        timing = Timing()
        scores = partial(self._backend.predict, disconnected=disconnected, timing=timing)
        word_shares = None
        if self._explainer is not None:
            word_shares = partial(self._explainer.predict, disconnected=disconnected, timing=timing)
        explanation = await explain(text, scores, word_shares)
        _note_model(timing)
        answer = explanation.to_dict(self._labels)
        return Reply(200, msgspec.json.encode({**answer, "model": self._identity}))

    async def predict_batch(self, body: bytes, headers: Headers, disconnected: WaitForDisconnect | None) -> Reply:
        """POST /predict/batch."""
        given = _decode(body, BatchRequest).texts
        refusals = [refuse(text) for text in given]
        texts = [text for text, refusal in zip(given, refusals, strict=True) if refusal is None]
        timing = Timing()
        rows = iter(await self._backend.predict(texts, disconnected=disconnected, timing=timing))
        _note_model(timing)
        now = time.time()
        language, source = requested_language(headers), _source(headers)
        predictions: list[dict[str, Any]] = []
        for text, refusal in zip(given, refusals, strict=True):
            if refusal is None:
                predictions.append(self._prediction(text, next(rows), now, timing, source))
            else:
                metrics.refused(refusal.code)
                predictions.append({"error": refusal.message(language)})
        await self._stored()
        return Reply(200, msgspec.json.encode({"predictions": predictions}))

    async def feedback(self, body: bytes, headers: Headers, disconnected: WaitForDisconnect | None) -> Reply:
        """POST /feedback."""
        given = _decode(body, FeedbackRequest)
        if given.label not in self._labels:
            raise invalid("label_unknown", "label")
        if self._log is None:
            raise Refused(503, "no_log")
        origin: Origin = "review" if given.review else "volunteered"
        try:
            started = perf_counter()
            outcome = await self._log.feedback(given.prediction_id, given.label, origin)
        except ServiceUnavailable as error:
            _note_failure("record")
            _logger.warning("The label could not be stored: %s", error)
            raise Refused(503, "log_away", (b"retry-after", b"1")) from error
        _note("record", started)
        if outcome in ("other", "unknown"):
            raise Refused(_OUTCOMES[outcome], "other_label" if outcome == "other" else "unknown_prediction")
        return Reply(
            _OUTCOMES[outcome], msgspec.json.encode({"prediction_id": given.prediction_id, "label": given.label})
        )

    async def review(self, body: bytes, headers: Headers, disconnected: WaitForDisconnect | None) -> Reply:
        """GET /review."""
        if self._log is None:
            raise Refused(503, "no_log")
        try:
            review = await self._log.review(MAX_REVIEW)
        except ServiceUnavailable as error:
            _logger.warning("The answers drawn for review could not be read: %s", error)
            raise Refused(503, "record_away", (b"retry-after", b"1")) from error
        if not self._private:
            review = msgspec.structs.replace(
                review, items=[msgspec.structs.replace(item, text=None) for item in review.items]
            )
        return Reply(200, msgspec.json.encode(review))

    async def status(self, body: bytes, headers: Headers, disconnected: WaitForDisconnect | None) -> Reply:
        """GET /status; also answered while the record is away."""
        record, problem = None, None
        if self._log is None:
            problem = message("no_log", requested_language(headers))
        else:
            try:
                record = await self._log.status()
            except ServiceUnavailable as error:
                _logger.warning("The status of the record could not be read: %s", error)
                problem = message("record_away", requested_language(headers))
        return Reply(200, msgspec.json.encode({"model": self._identity, "record": record, "problem": problem}))

    def index(self, prefix: str = "") -> dict[str, Any]:
        """GET /; `prefix` is the path below which a proxy publishes this server."""
        manifest = self.served.manifest
        return {
            "name": "sentiment",
            "model": {**self._identity, "name": manifest.name, "precision": manifest.precision},
            "version": self.served.version,
            "labels": self._labels,
            "data_digest": manifest.data_digest,
            "git_commit": manifest.git_commit,
            "links": {
                "predict": f"{prefix}/predict",
                "batch": f"{prefix}/predict/batch",
                "explain": f"{prefix}/explain",
                "feedback": f"{prefix}/feedback",
                "review": f"{prefix}/review",
                "status": f"{prefix}/status",
                "model": f"{prefix}/model",
                "docs": f"{prefix}/docs",
                "openapi": f"{prefix}/openapi.json",
                "health": f"{prefix}/healthz",
                "ready": f"{prefix}/readyz",
                "metrics": f"{prefix}/metrics",
            },
        }

    def card(self) -> dict[str, Any]:
        """GET /model: the manifest with its card, the version and the Bento."""
        card: dict[str, Any] = msgspec.to_builtins(self.served.manifest)
        return {**card, "version": self.served.version, "bento": self.served.bento}

    async def _stored(self) -> None:
        """Wait until the recorded answers are safe, if the log promises that."""
        if self._log is not None and (stored := self._log.stored()) is not None:
            started = perf_counter()
            await stored
            _note("record", started)

    def _prediction(
        self, text: str, row: list[float], now: float, timing: Timing, source: str | None
    ) -> dict[str, Any]:
        probabilities = {label: round(p, 6) for label, p in zip(self._labels, row, strict=True)}
        sentiment = max(probabilities, key=probabilities.__getitem__)
        score = probabilities[sentiment]
        own_id = prediction_id(now)
        metrics.predicted(sentiment)
        if self._log is not None or self._watch is not None:
            answer = Answer(
                own_id,
                now,
                text,
                sentiment,
                score,
                probabilities,
                source,
                timing.waited_s,
                timing.computed_s,
                *self._draw(score),
            )
            if self._log is not None:
                self._log.add(answer)
            if self._watch is not None:
                self._watch.predicted(answer)
        return {
            "prediction_id": own_id,
            "sentiment": sentiment,
            "score": score,
            "probabilities": probabilities,
            "model": self._identity,
        }


def _note(dependency: Dependency, started: float) -> None:
    """Add a call to the request's trace; `started` is a time of `perf_counter`."""
    if (trace := current_trace.get()) is not None:
        trace.called(dependency, perf_counter() - started)


def _note_model(timing: Timing) -> None:
    if (trace := current_trace.get()) is not None:
        trace.called("model", timing.computed_s)


def _note_failure(dependency: Dependency) -> None:
    if (trace := current_trace.get()) is not None:
        trace.called(dependency, failed=True)


def _too_many(retry_after_s: int) -> Refused:
    return Refused(429, "too_many", (b"retry-after", b"%d" % retry_after_s))


@lru_cache(maxsize=256)
def _overloaded_reply(retry_after_s: int, language: Language) -> Reply:
    return _too_many(retry_after_s).reply(language)


def requested_language(headers: Headers) -> Language:
    """The language requested by the `Accept-Language` header."""
    for name, value in headers:
        if name == b"accept-language":
            return language_of(value.decode("latin-1"))
    return "fr"


def _source(headers: Headers) -> str | None:
    """The channel that the client named in `X-Source`, shortened to what the record keeps."""
    for name, value in headers:
        if name == b"x-source":
            return value.decode("utf-8", "replace").strip()[:_MAX_SOURCE] or None
    return None


def _text(body: bytes) -> str:
    """The text of a single-text body; raises `Refused` if the text is refused."""
    text = _decode(body, PredictRequest).text
    if (refusal := refuse(text)) is not None:
        if refusal.status == 422:
            raise invalid(refusal.code, "text")
        raise Refused(refusal.status, refusal.code)
    return text


def _decode(body: bytes, kind: type[S]) -> S:
    if body.count(b",") > _MAX_VALUES and _too_many_values(body):
        raise invalid("too_many_values")
    try:
        return msgspec.json.decode(body, type=kind)
    except (ValueError, RecursionError):
        given = _decode_leniently(body)
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError:
        problems = list(islice(_problems(given, kind), _MAX_PROBLEMS))
        raise Refused(422, problems[0][0], problems=problems) from None


def _too_many_values(body: bytes) -> bool:
    """Return whether a body has more than `_MAX_VALUES` commas outside of its strings, or that many strings."""
    parts = body.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"', 2 * _MAX_VALUES)
    return len(parts) > 2 * _MAX_VALUES or sum(part.count(b",") for part in parts[::2]) > _MAX_VALUES


def _decode_leniently(body: bytes) -> object:
    """Decode a body that does not match its schema or is not quite valid JSON."""
    with suppress(ValueError, RecursionError):
        return msgspec.json.decode(body)
    # Many clients send half an emoji as an escape ("\ud83d"): the grammar allows it, strict parsers do not.
    try:
        text = json.dumps(json.loads(body.decode("utf-8-sig"), parse_constant=_no_constant), ensure_ascii=False)
        return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    except (ValueError, RecursionError):
        raise invalid("json_invalid") from None


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not valid JSON.")


def _problems(given: object, kind: type[msgspec.Struct]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The problems of `given`: message codes and the paths of their fields."""
    if not isinstance(given, dict):
        yield "object_type", ()
        return
    described = msgspec.structs.fields(kind)
    fields = {field.name: field.type for field in described}
    optional = {field.name for field in described if not field.required}
    for name, expected in fields.items():
        if name not in given:
            if name not in optional:
                yield "missing", (name,)
            continue
        value = given[name]
        try:
            msgspec.convert(value, expected)
        except msgspec.ValidationError:
            if expected is str:
                yield "string_type", (name,)
            elif expected is bool:
                yield "bool_type", (name,)
            elif isinstance(value, list):
                yield ("too_long" if value else "too_short"), (name,)
            else:
                yield "list_type", (name,)
    for name in given:
        if name not in fields:
            # An unknown field's name is echoed only if it looks like one.
            yield "extra_forbidden", (name,) if len(name) <= 64 and name.isidentifier() else ()
