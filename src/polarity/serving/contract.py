"""The HTTP contract independent of any HTTP server: request bodies in, statuses and response bodies out."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice, repeat
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Protocol, TypeVar, cast

import msgspec

from polarity.errors import PolarityError, ServiceUnavailable
from polarity.inference.explanation import explain
from polarity.inference.package import DOSSIER, DOSSIER_PAGE, ModelManifest
from polarity.record import answer as record
from polarity.record.answer import Answer, Origin, Outcome, Review
from polarity.record.prediction_id import prediction_id
from polarity.record.prediction_log import RecordUnavailable
from polarity.record.review import ReviewDraw
from polarity.serving import metrics
from polarity.serving.batcher import (
    Backend,
    Busy,
    ClientDisconnected,
    Rows,
    Timing,
    TooSlow,
    WaitForDisconnect,
    retry_after,
)
from polarity.serving.canary import Canary
from polarity.serving.challenger import MIRRORED, ChallengerAnswer
from polarity.serving.mirror import Mirror
from polarity.serving.request_trace import Dependency, current_trace
from polarity.serving.rules import MAX_TEXTS, Language, Refusal, language_of, message, refuse

if TYPE_CHECKING:
    from polarity.record.status import RecordStatus
    from polarity.record.store import RecordStore

_logger = logging.getLogger("bentoml.polarity")

S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")
Headers = Iterable[tuple[bytes, bytes]]

_OUTCOMES = {"new": 201, "same": 200, "other": 409, "unknown": 404}
_MAX_PROBLEMS = 10
_MAX_SOURCE = 64
MAX_REVIEW = 100
MAX_STREAM_WAIT_S = 30.0
_ENCODER = msgspec.json.Encoder()
# Larger bodies take turns: several that arrive together would keep all others waiting for as long as they all take.
_LARGE_BODY, _MAX_LARGE_BODIES = 16 * 1024, 64 * 1024 * 1024
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
    """The model that is served.

    `known_words` is the path of the checksums of its training words, `dossier` the folder that may have its papers.
    """

    manifest: ModelManifest
    version: str
    bento: str
    known_words: str | None = None
    dossier: Path | None = None

    @property
    def identity(self) -> dict[str, str]:
        """The fields that identify the model in every prediction."""
        return {"family": self.manifest.family, "version": self.version, "bento": self.bento}

    @property
    def recorded(self) -> record.Served:
        """The model as the record knows it."""
        return record.Served(**self.identity, known_words=self.known_words)


class Following(Protocol):
    """What the server follows; see `polarity.serving.follower.Follower`."""

    @property
    def tag(self) -> str: ...
    @property
    def problem(self) -> str | None: ...


Prediction = asyncio.Future[dict[str, Any]]
"""The answer to a text, once it is there."""
Handler = Callable[[bytes, Headers, WaitForDisconnect | None], Awaitable[Reply]]


class Log(Protocol):
    """Where answers and labels are recorded; see `polarity.record.prediction_log.PredictionLog`."""

    def add(self, answer: Answer) -> None: ...
    def stored(self) -> Awaitable[None] | None: ...
    def settle(self, future: asyncio.Future[T], value: T) -> bool: ...
    async def feedback(self, prediction_id: str, label: str, origin: Origin) -> Outcome: ...
    async def review(self, limit: int) -> Review: ...
    async def status(self) -> RecordStatus: ...
    async def in_store(self, task: Callable[[RecordStore], T], *, reading: bool = False) -> T: ...


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
    mirror : Mirror, optional
        Sends answers to a challenger while it has a share.
    following : Following, optional
        What the server follows, for GET /status.
    canary : Canary, optional
        Lets a challenger answer some clients while it has a share.
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
        mirror: Mirror | None = None,
        following: Following | None = None,
        canary: Canary | None = None,
    ) -> None:
        self.served = served
        self._backend = backend
        self._explainer = explainer
        self.log = log
        self._draw = ReviewDraw(review_share)
        self.private = private
        self._watch = watch
        self._mirror = mirror
        self._canary = canary
        self._labels = served.manifest.labels
        self._identity = served.identity
        self._recorded = served.recorded
        self._following = following
        self._decoding = asyncio.Lock()
        self._undecoded_bytes = 0

    async def answer(
        self, handler: Handler, body: bytes, headers: Headers, disconnected: WaitForDisconnect | None = None
    ) -> Reply:
        """The response of `handler` to `body`, or the refusal; never raises."""
        try:
            return await handler(body, headers, disconnected)
        except Exception as error:
            return _refused(error, headers)

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
        text = _text_of(await self.decoded(body, PredictRequest))
        timing = Timing()
        source = _source(headers)
        given = None
        if self._canary is not None and self._canary.share:
            given = (await self._by_challenger((text,), source, timing))[0]
        if given is not None:
            answer = self._challengers_prediction(text, given, time.time(), timing, source)
            await self._stored()
            return Reply(200, msgspec.json.encode(answer))
        recorded: Answer | None = None
        computed_at = 0.0

        def make_answer(rows: Rows, future: asyncio.Future[dict[str, Any]]) -> None:
            nonlocal recorded, computed_at
            prediction, recorded = self._prediction(text, rows[0], time.time(), timing, source)
            if self._settle(future, prediction):
                computed_at = perf_counter()

        answer = await self._backend.predict((text,), disconnected=disconnected, timing=timing, answer=make_answer)
        if (trace := current_trace.get()) is not None:
            record_s = perf_counter() - computed_at if computed_at else 0.0
            trace.called("model", timing.computed_s, ago_s=record_s)
            if computed_at:
                trace.called("record", record_s)
        if recorded is not None and self._watch is not None:
            self._watch.predicted(recorded)
        return Reply(200, msgspec.json.encode(answer))

    def begin(self, body: bytes, headers: Headers) -> Prediction | None:
        """Begin to answer POST /predict without a task, or return `None` if that takes `predict`.

        The response to the future is that of `complete`. A client that disconnects cancels it.
        """
        if len(body) > _LARGE_BODY or self._watch is not None or (self._canary is not None and self._canary.share):
            return None
        try:
            text = _text_of(decode(body, PredictRequest))
            timing = Timing()
            source = _source(headers)

            def make_answer(rows: Rows, future: Prediction) -> None:
                self._settle(future, self._prediction(text, rows[0], time.time(), timing, source)[0])

            return self._backend.begin((text,), timing=timing, answer=make_answer)
        except Exception as error:
            refused: Prediction = asyncio.get_running_loop().create_future()
            refused.set_exception(error)
            return refused

    @staticmethod
    def complete(answer: Prediction) -> Reply:
        """The response to a request that `begin` began, or the refusal without `Accept-Language`; never raises."""
        error = ClientDisconnected("The client has disconnected.") if answer.cancelled() else answer.exception()
        if error is None:
            return Reply(200, msgspec.json.encode(answer.result()))
        return _refused(error)

    async def explain(self, body: bytes, headers: Headers, disconnected: WaitForDisconnect | None) -> Reply:
        """POST /explain."""
        text = _text_of(await self.decoded(body, PredictRequest))
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
        given = (await self.decoded(body, BatchRequest)).texts
        predictions = await self.predictions(given, headers, disconnected)
        return Reply(200, msgspec.json.encode({"predictions": predictions}))

    async def predict_lines(self, lines: Sequence[bytes | None], headers: Headers) -> bytes:
        """Answer some lines of POST /predict/stream with as many; those that are refused say why.

        While the server is overloaded it waits, for at most `MAX_STREAM_WAIT_S`.

        Parameters
        ----------
        lines : sequence of bytes or None
            Bodies as of POST /predict; None for one that was too large to be kept.
        headers : iterable of (bytes, bytes)
            Of the request.
        """
        given = [_text_of_line(line) for line in lines]
        waited_s = 0.0
        while True:
            try:
                return _ENCODER.encode_lines(await self.predictions(given, headers, None))
            except Exception as error:
                if not isinstance(error, Busy) or waited_s >= MAX_STREAM_WAIT_S:
                    refused = _refusal_for(error)
                    break
                pause_s = min(max(error.retry_after_s, 0.05), 1.0)
            await asyncio.sleep(pause_s)
            waited_s += pause_s
        metrics.refused(refused.code)
        return _ENCODER.encode_lines([{"error": message(refused.code, requested_language(headers))}] * len(given))

    async def predictions(
        self, given: Sequence[object], headers: Headers, disconnected: WaitForDisconnect | None
    ) -> list[dict[str, Any]]:
        """The answers to `given`, of which each item that is not a proper text is refused individually."""
        refusals = [text if isinstance(text, Refusal) else refuse(text) for text in given]
        # What is not refused is a string.
        texts = cast(list[str], [text for text, refusal in zip(given, refusals, strict=True) if refusal is None])
        timing, its_timing = Timing(), Timing()
        language, source = requested_language(headers), _source(headers)
        mirrored = any(name == MIRRORED for name, _ in headers)
        challengers: Iterator[ChallengerAnswer | None] = repeat(None)
        own = texts
        if self._canary is not None and self._canary.share and not mirrored:
            found = await self._by_challenger(texts, source, its_timing)
            challengers = iter(found)
            own = [text for text, one in zip(texts, found, strict=True) if one is None]
        rows = iter(await self._backend.predict(own, disconnected=disconnected, timing=timing) if own else ())
        _note_model(timing)
        now = time.time()
        predictions: list[dict[str, Any]] = []
        accepted = iter(texts)
        for refusal in refusals:
            if refusal is None:
                text = next(accepted)
                if (one := next(challengers)) is not None:
                    predictions.append(self._challengers_prediction(text, one, now, its_timing, source))
                else:
                    prediction, recorded = self._prediction(text, next(rows), now, timing, source, mirrored=mirrored)
                    if recorded is not None and self._watch is not None:
                        self._watch.predicted(recorded)
                    predictions.append(prediction)
            else:
                metrics.refused(refusal.code)
                predictions.append({"error": refusal.message(language)})
        await self._stored()
        return predictions

    async def feedback(self, body: bytes, headers: Headers, disconnected: WaitForDisconnect | None) -> Reply:
        """POST /feedback."""
        given = await self.decoded(body, FeedbackRequest)
        return await self.store_label(given.prediction_id, given.label, "review" if given.review else "volunteered")

    async def store_label(self, prediction_id: str, label: str, origin: Origin) -> Reply:
        """Store the true label of an answer."""
        if label not in self._labels:
            raise invalid("label_unknown", "label")
        if self.log is None:
            raise Refused(503, "no_log")
        try:
            started = perf_counter()
            outcome = await self.log.feedback(prediction_id, label, origin)
        except ServiceUnavailable as error:
            _note_failure("record")
            _logger.warning("The label could not be stored: %s", error)
            raise Refused(503, "log_away", (b"retry-after", b"1")) from error
        _note("record", started)
        if outcome in ("other", "unknown"):
            raise Refused(_OUTCOMES[outcome], "other_label" if outcome == "other" else "unknown_prediction")
        return Reply(_OUTCOMES[outcome], msgspec.json.encode({"prediction_id": prediction_id, "label": label}))

    async def review(self, body: bytes, headers: Headers, disconnected: WaitForDisconnect | None) -> Reply:
        """GET /review."""
        if self.log is None:
            raise Refused(503, "no_log")
        try:
            review = await self.log.review(MAX_REVIEW)
        except ServiceUnavailable as error:
            _logger.warning("The answers drawn for review could not be read: %s", error)
            raise Refused(503, "record_away", (b"retry-after", b"1")) from error
        if not self.private:
            review = msgspec.structs.replace(
                review, items=[msgspec.structs.replace(item, text=None) for item in review.items]
            )
        return Reply(200, msgspec.json.encode(review))

    async def status(self, body: bytes, headers: Headers, disconnected: WaitForDisconnect | None) -> Reply:
        """GET /status; also answered while the record is away."""
        state, problem = None, None
        if self.log is None:
            problem = message("no_log", requested_language(headers))
        else:
            try:
                state = await self.log.status()
            except ServiceUnavailable as error:
                _logger.warning("The status of the record could not be read: %s", error)
                problem = message("record_away", requested_language(headers))
        following = self._following and {"tag": self._following.tag, "problem": self._following.problem}
        status = {"model": self._identity, "following": following, "record": state, "problem": problem}
        return Reply(200, msgspec.json.encode(status))

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
                "stream": f"{prefix}/predict/stream",
                "explain": f"{prefix}/explain",
                "feedback": f"{prefix}/feedback",
                "review": f"{prefix}/review",
                "labelled": f"{prefix}/labelled",
                "figures": f"{prefix}/figures",
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
        """GET /model: the manifest with its card, the version, the Bento and, if there is one, the dossier."""
        card: dict[str, Any] = msgspec.to_builtins(self.served.manifest)
        dossier = self._dossier(DOSSIER)
        papers = {} if dossier is None else {"dossier": msgspec.json.decode(dossier)}
        return {**card, "version": self.served.version, "bento": self.served.bento, **papers}

    def dossier_page(self) -> bytes | None:
        """GET /model for people; None if there is no dossier."""
        return self._dossier(DOSSIER_PAGE)

    def _dossier(self, name: str) -> bytes | None:
        with suppress(OSError):  # it is not there, or was replaced a moment ago
            return (self.served.dossier / name).read_bytes() if self.served.dossier else None
        return None

    def _settle(self, future: Prediction, prediction: dict[str, Any]) -> bool:
        """Answer with a prediction as soon as the log allows; return whether it has to be waited for."""
        if self.log is not None:
            return self.log.settle(future, prediction)
        future.set_result(prediction)
        return False

    async def decoded(self, body: bytes, kind: type[S]) -> S:
        """`decode` in turn.

        Raises
        ------
        Refused
            If the body is not a request of this kind.
        Busy
            If too many large bodies wait for it.
        """
        return await self.in_turn(body, lambda: decode(body, kind))

    async def in_turn(self, body: bytes, read: Callable[[], T]) -> T:
        """Call `read`, which decodes a body: one large body in each turn of the event loop.

        Raises
        ------
        Busy
            If too many wait for it.
        """
        if len(body) <= _LARGE_BODY:
            return read()
        if self._undecoded_bytes + len(body) > _MAX_LARGE_BODIES:
            raise Busy(1.0)
        self._undecoded_bytes += len(body)
        try:
            async with self._decoding:
                await asyncio.sleep(0)
                return read()
        finally:
            self._undecoded_bytes -= len(body)

    async def _stored(self) -> None:
        """Wait until the recorded answers are sent to the recorder, and stored if the log promises that."""
        if self.log is None:
            return
        if (stored := self.log.stored()) is None:
            await asyncio.sleep(0)  # the log sends them in the event loop's next iteration
            return
        started = perf_counter()
        await stored
        _note("record", started)

    def _prediction(
        self, text: str, row: list[float], now: float, timing: Timing, source: str | None, *, mirrored: bool = False
    ) -> tuple[dict[str, Any], Answer | None]:
        """The answer to a text, and what is recorded of it."""
        answer: Answer | None = None
        probabilities = {label: round(p, 6) for label, p in zip(self._labels, row, strict=True)}
        sentiment = max(probabilities, key=probabilities.__getitem__)
        score = probabilities[sentiment]
        own_id = prediction_id(now)
        metrics.predicted(sentiment)
        if mirrored:
            metrics.unrecorded()
        elif self.log is not None or self._watch is not None:
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
                self._recorded,
            )
            if self.log is not None:
                self.log.add(answer)
                if self._mirror is not None and self._mirror.share:
                    self._mirror.offer(answer)
        prediction = {
            "prediction_id": own_id,
            "sentiment": sentiment,
            "score": score,
            "probabilities": probabilities,
            "model": self._identity,
        }
        return prediction, answer

    async def _by_challenger(
        self, texts: Sequence[str], source: str | None, timing: Timing
    ) -> list[ChallengerAnswer | None]:
        """The challenger's answers to the texts of its clients; None where the served model is to answer.

        A client is known by its source, or else by the text.
        """
        assert self._canary is not None
        if source is not None:
            chosen = list(range(len(texts))) if self._canary.chooses(source) else []
        else:
            chosen = [place for place, text in enumerate(texts) if self._canary.chooses(text)]
        found: list[ChallengerAnswer | None] = [None] * len(texts)
        if chosen:
            started = perf_counter()
            for place, answer in zip(chosen, await self._canary.ask([texts[n] for n in chosen]), strict=True):
                found[place] = answer
            if any(answer is not None for answer in found):
                timing.computed_s = perf_counter() - started
        return found

    def _challengers_prediction(
        self, text: str, given: ChallengerAnswer, now: float, timing: Timing, source: str | None
    ) -> dict[str, Any]:
        """An answer of the challenger, recorded as its own, with a prediction id of this server."""
        own_id = prediction_id(now)
        metrics.predicted(given.sentiment)
        if self.log is not None or self._watch is not None:
            answer = Answer(
                own_id,
                now,
                text,
                *given[:3],
                source,
                timing.waited_s,
                timing.computed_s,
                *self._draw(given.score),
                given.served,
            )
            if self.log is not None:
                self.log.add(answer)
            if self._watch is not None:
                self._watch.predicted(answer)
        return {
            "prediction_id": own_id,
            "sentiment": given.sentiment,
            "score": given.score,
            "probabilities": given.probabilities,
            "model": {"family": given.served.family, "version": given.served.version, "bento": given.served.bento},
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


def _refusal_for(error: BaseException) -> Refused:
    """How a request is refused that ended with `error`."""
    match error:
        case Refused():
            return error
        case ClientDisconnected():
            return Refused(0, "gone")
        case Busy():
            return _too_many(retry_after(error.retry_after_s))
        case TooSlow():
            _note_failure("model")
            return Refused(504, "too_slow")
        case RecordUnavailable():
            _note_failure("record")
            return Refused(503, "not_recorded", (b"retry-after", b"1"))
        case ServiceUnavailable():
            _note_failure("model")
            return Refused(503, "away", (b"retry-after", b"1"))
    _logger.error("Unexpected error while handling a request.", exc_info=error)
    return Refused(500, "failed")


def _refused(error: BaseException, headers: Headers = ()) -> Reply:
    """The response to a request that ended with `error`, which is counted."""
    refused = _refusal_for(error)
    metrics.refused(refused.code)
    return refused.reply(requested_language(headers))


def _text_of_line(line: bytes | None) -> str | Refusal:
    """The text of a line of a stream, or why the line has none."""
    if line is None:
        return Refusal(422, "line_too_long")
    try:
        return decode(line, PredictRequest).text
    except Refused as error:
        return Refusal(error.status, error.code)


def _text_of(request: PredictRequest) -> str:
    """The text of a request; raises `Refused` if the text is refused."""
    text = request.text
    if (refusal := refuse(text)) is not None:
        if refusal.status == 422:
            raise invalid(refusal.code, "text")
        raise Refused(refusal.status, refusal.code)
    return text


def decode(body: bytes, kind: type[S]) -> S:
    """The body as a request of a kind; raises `Refused` if it is not one."""
    if too_many_values(body):
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


def too_many_values(body: bytes) -> bool:
    """Return whether a body has more than `_MAX_VALUES` commas outside of its strings."""
    if len(body) <= _MAX_VALUES:
        return False
    if b"\\" in body:
        body = body.replace(rb"\\", b"").replace(rb"\"", b"")
    commas = quotes = 0
    # Block by block: a million of them are neither copied nor counted to the end.
    for start in range(0, len(body), _LARGE_BODY):
        parts = body[start : start + _LARGE_BODY].split(b'"')
        commas += b"".join(parts[quotes % 2 :: 2]).count(b",")
        quotes += len(parts) - 1
        # Of strings there are at most two for each comma, a key and a value: more of them are too many, or no JSON.
        if commas > _MAX_VALUES or quotes > 5 * _MAX_VALUES:
            return True
    return False


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
            elif kind is not BatchRequest:
                yield "parameter", (name,)
            elif isinstance(value, list):
                yield ("too_long" if value else "too_short"), (name,)
            else:
                yield "list_type", (name,)
    for name in given:
        if name not in fields:
            # An unknown field's name is echoed only if it looks like one.
            yield "extra_forbidden", (name,) if len(name) <= 64 and name.isidentifier() else ()
