"""Gather single requests into batches, as large as the load makes them.

A batch is dispatched as soon as the model is free: a single request never waits
for others, and while the model is busy, the next batch grows. The queue is
bounded by the time a request would wait in it, every request has a deadline, and
work that no client is waiting for any more is not computed.

The expected wait is estimated from the pace of previous batches, measured from
the end of one to the end of the next. It therefore includes everything the server
does besides calling the model, which is most of the time under overload.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal, Protocol

from polarity.errors import ServiceUnavailable

Rows = list[list[float]]
Run = Callable[[list[str]], Awaitable[Rows]]
Answer = Callable[[Rows, "asyncio.Future[Any]"], None]
"""Makes the answer of a request from its rows, and settles the future with it, at once or later."""
WaitForDisconnect = Callable[[], Awaitable[object]]
Reason = Literal["idle", "freed", "full"]

_TICK_S = 0.05
# A queue that stays longer than its room without shrinking while the model works through this many rooms, within these
# seconds, is overload, not a burst. It is then limited to its room until no request has had to be refused for a while
# (after Nichols and Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012).
_STANDING_ROOMS, _STANDING_S = 8, (0.05, 0.15)
# What has piled up while the machine stalled gets the most: a timer was late by this much, at most this long ago.
_STALL_S, _STALLED_FOR_S = 0.025, 1.0
# By then, the backlog of a burst has shrunk below this fraction of its peak, unless load arrives at the model's full
# capacity.
_STANDING_SHARE = 0.9
_CALM_TICKS, _CALM_ROOMS = 10, 4
# If the room fills up nevertheless, only a part of it is used for as long as calm takes, and after each look at the
# whole room that finds it full again for twice as long, up to so many times. A part could not show that the overload is
# over: at half load it is often full.
_NARROW_SHARE, _NARROW_TIMES = 0.25, 8
# Decay of the pace estimate per batch, and the limit on how many times slower than it a single batch may count: a
# machine that stalled for a moment is not a slow model, while a real slowdown shows after a few batches.
_PACE_DECAY, _OUTLIER = 0.9, 4


class Busy(ServiceUnavailable):
    """More requests are queued than can be answered in time; retry after `retry_after_s` seconds."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"The request queue is full; retry in {retry_after_s:.1f} s.")
        self.retry_after_s = retry_after_s


class TooSlow(ServiceUnavailable):
    """The deadline passed before the model answered."""


class ClientDisconnected(ServiceUnavailable):
    """The client disconnected before it was answered."""


@dataclass(slots=True)
class Timing:
    """What one request's texts took.

    Attributes
    ----------
    waited_s : float
        Until the first batch took one of them.
    computed_s : float
        In the model: the whole time of each batch that held one of them.
    """

    waited_s: float = 0.0
    computed_s: float = 0.0


class Backend(Protocol):
    """Turns texts into probabilities, with a model in this process or with runners in other processes."""

    async def predict(
        self,
        texts: Sequence[str],
        *,
        disconnected: WaitForDisconnect | None = None,
        timing: Timing | None = None,
        answer: Answer | None = None,
    ) -> Any:
        """One row of probabilities per text, in order, or what `answer` makes of them; `timing` is filled in."""
        ...

    def begin(
        self, texts: Sequence[str], *, timing: Timing | None = None, answer: Answer | None = None
    ) -> asyncio.Future[Any]:
        """What `predict` returns, without a task; cancelled if its client disconnects."""
        ...

    def retry_delay_s(self, texts: int = 1, *, incoming: int = 0) -> float | None:
        """Seconds until this many more texts can be accepted, or `None` if they can be accepted now.

        Parameters
        ----------
        incoming : int
            Requests that are already on their way to this backend.
        """
        ...


@dataclass(frozen=True, slots=True)
class BatchDispatch:
    """A batch that was dispatched to the model, as the metrics see it.

    Attributes
    ----------
    reason : str
        `idle`: the model was free when the first text arrived; `freed`: the model had just become free;
        `full`: more texts were waiting than fit into one batch.
    waited_s : float
        Time since the arrival of the oldest request in the batch.
    """

    reason: Reason
    size: int
    waited_s: float


class Watch(Protocol):
    """Observes a batcher. Its methods must not raise."""

    def dispatched(self, batch: BatchDispatch) -> None: ...
    def completed(self, size: int, model_s: float) -> None: ...
    def depth(self, waiting: int) -> None: ...


class _Work:
    """The texts of one request, some of which may already be answered."""

    __slots__ = (
        "answer",
        "arrived",
        "computed",
        "disconnected",
        "make_answer",
        "next",
        "pending",
        "rows",
        "texts",
        "timing",
        "watcher",
    )

    def __init__(
        self,
        texts: Sequence[str],
        answer: asyncio.Future[Any],
        disconnected: WaitForDisconnect | None,
        timing: Timing | None,
        make_answer: Answer | None,
    ) -> None:
        self.texts = texts
        self.answer = answer
        self.make_answer = make_answer
        # The rows are there, and nothing but the record is waited for.
        self.computed = False
        self.disconnected = disconnected
        self.timing = timing
        self.arrived = perf_counter()
        self.next = 0
        self.pending = len(texts)
        self.rows: Rows = [[]] * len(texts)
        self.watcher: asyncio.Task[None] | None = None

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)

    def fitting(self, limit: int, room: int) -> tuple[int, int]:
        """How many of the next `limit` texts have `room` characters together, and how many these have.

        If the next one has more, it is none, and that one's characters.
        """
        characters = 0
        for number in range(limit):
            # What is no text after all fails in the model, by itself.
            size = len(str(self.texts[self.next + number]))
            if characters + size > room:
                return number, characters or size
            characters += size
        return limit, characters


_Slice = tuple[_Work, int, int]


class Batcher:
    """A `Backend` that gathers concurrent requests and runs them as one batch.

    Parameters
    ----------
    run : async callable
        Returns the rows for the texts of one batch.
    max_batch : int
        Maximum number of texts in a batch.
    max_wait_s : float
        A request is refused if it would wait longer than this for its turn at the current pace.
    max_queue : int
        Maximum number of queued texts, whatever the pace.
    deadline_s : float
        A request older than this is failed; one that could not be completed by then is refused.
    lanes : int
        Number of batches that run concurrently: copies of the model behind `run`.
    max_characters : int, optional
        Maximum number of characters in a batch of several texts, of which a request with long ones may take a quarter
        while others are waiting; at least one text. Default: any number.
    queue_room : int, optional
        Number of requests that may always wait, whatever the pace; fewer under sustained overload. Default:
        `max_batch`.
    """

    def __init__(
        self,
        run: Run,
        *,
        max_batch: int,
        max_wait_s: float,
        max_queue: int,
        deadline_s: float,
        lanes: int = 1,
        max_characters: int | None = None,
        queue_room: int | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_characters = max_characters
        # The part of a batch that a long request may take while others are waiting.
        self._fair_share = max(1, max_batch // 4)
        self._fair_characters = (max_characters or 0) // 4
        self._max_wait_s = max_wait_s
        self._max_queue = max_queue
        self._deadline_s = deadline_s
        self._free = self._lanes = lanes
        self._watch = watch
        self._queue: deque[_Work] = deque()
        self._unanswered: deque[_Work] = deque()
        self._waiting = 0
        # Texts ahead of a request that arrives now; a long request counts with its share of a batch only.
        self._ahead = 0
        self._scheduled = False
        self._sweeping = False
        self._closed = False
        self._batches: set[asyncio.Task[None]] = set()
        self._pace_started_at = 0.0
        self._queue_room = queue_room or max_batch
        self._narrow_room = max(1, int(_NARROW_SHARE * self._queue_room))
        self._below_room_at = self._checked_at = self._strict_at = 0.0
        self._longest_queue = self._strict_ticks = self._narrow_ticks = self._narrow_times = 0
        self._stalled_at = -math.inf
        self._texts_done = 0.0
        self._seconds_busy = 0.0

    @property
    def waiting(self) -> int:
        """Number of texts waiting for a batch."""
        return self._waiting

    async def predict(
        self,
        texts: Sequence[str],
        *,
        disconnected: WaitForDisconnect | None = None,
        timing: Timing | None = None,
        answer: Answer | None = None,
    ) -> Any:
        """Rows for `texts`, in order.

        Parameters
        ----------
        disconnected : async callable, optional
            Returns when the client has disconnected; called only for requests that have to wait.
        timing : Timing, optional
            Filled in with what the texts took.
        answer : callable, optional
            Called with the rows and the future that this waits for, as part of the batch, so that a request which is
            recorded waits once and not twice. The deadline is over then. Default: the rows are the answer.

        Raises
        ------
        Busy
            Immediately, if the queue is full.
        TooSlow
            If the deadline passes.
        ClientDisconnected
            If `disconnected` returns first.
        ServiceUnavailable
            If the batcher is closed or the model is unavailable.
        """
        if not texts:
            return []
        work = self._add(texts, disconnected, timing, answer)
        try:
            return await work.answer
        finally:
            if work.watcher is not None:
                work.watcher.cancel()

    def begin(
        self, texts: Sequence[str], *, timing: Timing | None = None, answer: Answer | None = None
    ) -> asyncio.Future[Any]:
        """What `predict` returns for at least one text, as a future; raises `Busy` or `ServiceUnavailable` at once.

        A request that is cancelled is not computed.
        """
        return self._add(texts, None, timing, answer).answer

    def _add(
        self,
        texts: Sequence[str],
        disconnected: WaitForDisconnect | None,
        timing: Timing | None,
        answer: Answer | None,
    ) -> _Work:
        if self._closed:
            raise ServiceUnavailable("The server is stopping.")
        if (wait_s := self.retry_delay_s(len(texts))) is not None:
            raise Busy(wait_s)
        loop = asyncio.get_running_loop()
        work = _Work(texts, loop.create_future(), disconnected, timing, answer)
        self._queue.append(work)
        self._unanswered.append(work)
        if len(self._queue) <= self._queue_room:
            self._below_room_at = work.arrived
        self._waiting += len(texts)
        self._ahead += min(len(texts), self._fair_share)
        if self._free and not self._scheduled:
            # Run after everything that this event loop iteration reads from its sockets is queued as well.
            self._scheduled = True
            loop.call_soon(self._send, loop, "idle")
        if not self._sweeping:
            self._sweeping = True
            loop.call_later(_TICK_S, self._sweep, loop, work.arrived + _TICK_S)
        return work

    def retry_delay_s(self, texts: int = 1, *, incoming: int = 0) -> float | None:
        """Seconds until this many more texts can be accepted, or `None` if they can be accepted now."""
        requests, waiting = len(self._queue) + incoming, self._waiting + incoming
        if waiting < self._narrow_room:
            return None
        now = perf_counter()
        text_s = self._seconds_per_text
        if not self._strict_ticks and requests >= self._queue_room and self._is_standing(requests, now):
            self._enter_strict_mode(now)
        room = self._narrow_room if self._narrow_ticks else self._queue_room
        patience_s = 0.0 if self._strict_ticks else self._max_wait_s
        turn_s, done_s = (self._ahead + incoming) * text_s, (waiting + texts) * text_s
        in_time = done_s <= self._deadline_s and waiting + texts <= self._max_queue
        if in_time and (requests < room or turn_s <= patience_s):
            return None
        if self._strict_ticks and not self._narrow_ticks:
            self._stay_strict()
        return max(turn_s, done_s - self._deadline_s, 0.1)

    @property
    def _calm_ticks(self) -> int:
        """Timer ticks without a refusal that end an overload.

        The number grows with the model's latency: a slow model alternates between refusing and accepting, and a pause
        between two refusals does not end the overload.
        """
        return max(_CALM_TICKS, int(_CALM_ROOMS * self._queue_room * self._seconds_per_text / _TICK_S))

    def _enter_strict_mode(self, now: float) -> None:
        """Limit the queue to its room until no request has been refused for a number of timer ticks.

        Ticks are counted because elapsed time alone would mistake a stalled machine for a calm one.
        """
        asyncio.get_running_loop().call_later(_TICK_S, self._tick)
        self._strict_at, self._strict_ticks, self._narrow_times = now, self._calm_ticks, 1

    def _stay_strict(self) -> None:
        """The whole room is full: use only a part of it for a while, unless this is still what had piled up before."""
        self._strict_ticks = self._calm_ticks
        if self._below_room_at > self._strict_at:
            self._narrow_ticks = self._narrow_times * self._strict_ticks
            self._strict_ticks += self._narrow_ticks
            self._narrow_times = min(2 * self._narrow_times, _NARROW_TIMES)

    def _tick(self) -> None:
        self._strict_ticks -= 1
        self._narrow_ticks = max(0, self._narrow_ticks - 1)
        if self._strict_ticks:
            asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    def _is_standing(self, requests: int, now: float) -> bool:
        """Whether a queue longer than its room has been so for a while and is not shrinking."""
        if self._checked_at < self._below_room_at:
            self._checked_at, self._longest_queue = now, 0
        self._longest_queue = max(self._longest_queue, requests)
        if now - self._checked_at < self._standing_s(now):
            return False
        standing = requests >= _STANDING_SHARE * self._longest_queue
        self._checked_at, self._longest_queue = now, requests
        return standing

    def _standing_s(self, now: float) -> float:
        least_s, most_s = _STANDING_S
        if now - self._stalled_at < _STALLED_FOR_S:
            return most_s
        return min(max(_STANDING_ROOMS * self._queue_room * self._seconds_per_text, least_s), most_s)

    def _send(self, loop: asyncio.AbstractEventLoop, reason: Reason) -> None:
        self._scheduled = False
        while self._free and self._queue:
            slices = self._gather()
            if not slices:
                break
            if self._free == self._lanes and reason == "idle":
                self._pace_started_at = perf_counter()
            self._free -= 1
            texts = [text for work, start, stop in slices for text in work.texts[start:stop]]
            if self._watch is not None:
                full: Reason = "full" if len(texts) >= self._max_batch and self._waiting else reason
                oldest = min(work.arrived for work, _, _ in slices)
                self._watch.dispatched(BatchDispatch(full, len(texts), perf_counter() - oldest))
            task = loop.create_task(self._batch(loop, slices, texts))
            self._batches.add(task)
            task.add_done_callback(self._batches.discard)
        if self._watch is not None:
            self._watch.depth(self._waiting)

    def _gather(self) -> list[_Slice]:
        slices: list[_Slice] = []
        space, room = self._max_batch, self._max_characters
        skipped: list[_Work] = []
        while space and self._queue and len(skipped) < self._max_batch:
            work = self._queue.popleft()
            rest = len(work.texts) - work.next
            if work.answer.done():
                self._ahead -= min(rest, self._fair_share)
                self._waiting -= rest
                continue
            alone = not self._queue and not skipped
            take = min(rest, space) if alone else min(rest, space, self._fair_share)
            if room is not None:
                fitting, characters = work.fitting(take, room if alone else min(room, self._fair_characters))
                if slices and not fitting:
                    # Shorter texts behind it are not held up.
                    skipped.append(work)
                    continue
                take, room = max(fitting, 1), max(room - characters, 0)
            self._ahead -= min(rest, self._fair_share)
            if not work.next and work.timing is not None:
                work.timing.waited_s = perf_counter() - work.arrived
            slices.append((work, work.next, work.next + take))
            work.next += take
            space -= take
            self._waiting -= take
            if take < rest:
                # Requeue behind the others, so that a long request delays no other by more than one batch.
                self._queue.append(work)
                self._ahead += min(rest - take, self._fair_share)
        self._queue.extendleft(reversed(skipped))
        if len(self._queue) < self._queue_room:
            self._below_room_at = perf_counter()
        return slices

    async def _batch(self, loop: asyncio.AbstractEventLoop, slices: list[_Slice], texts: list[str]) -> None:
        started = perf_counter()
        try:
            rows = await self._run(texts)
        except ServiceUnavailable as error:
            for work, _, _ in slices:
                work.fail(error)
        except Exception as error:
            await self._run_one_by_one(slices, error)
        else:
            ended = perf_counter()
            self._update_pace(len(texts), ended - self._pace_started_at)
            if self._watch is not None:
                self._watch.completed(len(texts), ended - started)
            position = 0
            for work, start, stop in slices:
                if work.timing is not None:
                    work.timing.computed_s += ended - started
                self._deliver(work, start, rows[position : position + stop - start])
                position += stop - start
        finally:
            self._free += 1
            self._pace_started_at = perf_counter()
            if self._queue and not self._scheduled:
                self._scheduled = True
                loop.call_soon(self._send, loop, "freed")

    @property
    def _seconds_per_text(self) -> float:
        """Seconds per text at the current pace; 0 before the first batch."""
        return self._seconds_busy / (self._texts_done or 1.0)

    def _update_pace(self, texts: int, seconds: float) -> None:
        if self._texts_done:
            seconds = min(seconds, _OUTLIER * texts * self._seconds_per_text)
        self._texts_done = _PACE_DECAY * self._texts_done + texts
        self._seconds_busy = _PACE_DECAY * self._seconds_busy + seconds

    async def _run_one_by_one(self, slices: list[_Slice], error: Exception) -> None:
        """Run the texts of a failed batch one at a time, so that a text that makes the model fail harms no other."""
        for work, start, stop in slices:
            if len(slices) == 1 and stop - start == 1:
                work.fail(error)
                return
            try:
                rows = [row for text in work.texts[start:stop] for row in await self._run([text])]
            except Exception as own:
                work.fail(own)
            else:
                self._deliver(work, start, rows)

    @staticmethod
    def _deliver(work: _Work, start: int, rows: Rows) -> None:
        work.rows[start : start + len(rows)] = rows
        work.pending -= len(rows)
        if work.pending or work.answer.done():
            return
        if work.make_answer is None:
            work.answer.set_result(work.rows)
            return
        work.computed = True
        try:
            work.make_answer(work.rows, work.answer)
        except Exception as error:
            work.fail(error)

    def _sweep(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        """Fail overdue requests, and start watching the clients of waiting ones for a disconnect."""
        now = perf_counter()
        if now - due > _STALL_S:
            self._stalled_at = now
        while self._unanswered:
            work = self._unanswered[0]
            if not (work.computed or work.answer.done()):
                if now - work.arrived <= self._deadline_s:
                    break
                work.fail(TooSlow(f"No answer within {self._deadline_s:g} s."))
            self._unanswered.popleft()
        for work in self._unanswered:
            if now - work.arrived < _TICK_S:
                break
            if work.disconnected is not None and work.watcher is None and not work.answer.done():
                work.watcher = loop.create_task(self._fail_on_disconnect(work, work.disconnected))
        self._sweeping = bool(self._unanswered)
        if self._sweeping:
            loop.call_later(_TICK_S, self._sweep, loop, now + _TICK_S)

    @staticmethod
    async def _fail_on_disconnect(work: _Work, disconnected: WaitForDisconnect) -> None:
        await disconnected()
        work.fail(ClientDisconnected("The client has disconnected."))

    async def close(self) -> None:
        """Accept no more requests, and complete those already accepted."""
        self._closed = True
        while self._batches or self._queue:
            if self._batches:
                await asyncio.wait(self._batches)
            await asyncio.sleep(0)


def retry_after(wait_s: float) -> int:
    """Whole seconds for the `Retry-After` header, at least 1."""
    return max(1, math.ceil(wait_s))
