"""Gather single requests into batches, as large as the load makes them.

A batch leaves whenever the model is free: alone, a request does not wait for
company; while the model works, the next batch grows. The queue is bounded by
the time that a request would wait in it, every request has a deadline, and what
nobody waits for any more is not computed.

How long a request would wait is told by the pace of the batches that came before
it, from the end of one to the end of the next: what the server does besides
calling the model counts, and under overload that is most of it.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Literal, Protocol

from polarity.errors import ServiceUnavailable

Rows = list[list[float]]
Run = Callable[[list[str]], Awaitable[Rows]]
Gone = Callable[[], Awaitable[object]]
Reason = Literal["idle", "freed", "full"]

_TICK_S = 0.05
# A queue that stays longer than the room for so many seconds, and does not become shorter, is no burst but overload:
# then no more than half of the room is filled, until for a while nobody had to be refused (after Nichols and Jacobson,
# "Controlling Queue Delay", ACM Queue 10(5), 2012).
_STANDING_S = 0.15
# What a burst left is shorter than this share of its longest by then, unless as much comes as the model can do.
_STILL_THERE = 0.9
_CALM_TICKS, _TURNS = 10, 4
# Weight of the past in the estimate of the pace, per batch, and how many times slower than it one batch may count:
# a machine that stood still for a moment is no slow model, and a model that has become slow soon shows.
_MEMORY, _OUTLIER = 0.9, 4


class Busy(ServiceUnavailable):
    """More waits than can be answered in time. `retry_after_s` says when to come back."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"Too much is waiting; try again in {retry_after_s:.1f} s.")
        self.retry_after_s = retry_after_s


class TooSlow(ServiceUnavailable):
    """The deadline passed before the model answered."""


class ClientGone(ServiceUnavailable):
    """Whoever asked has left; there is nobody to answer."""


class Backend(Protocol):
    """Texts in, probabilities out, whatever stands behind it: a model in this process or runners elsewhere."""

    async def predict(self, texts: Sequence[str], *, gone: Gone | None = None) -> Rows:
        """One row of probabilities per text, in order."""
        ...

    def wait_s(self, texts: int = 1, *, coming: int = 0) -> float | None:
        """Seconds until so many more texts may come; none: they may come now.

        Parameters
        ----------
        coming : int
            Requests that are on their way to this backend already.
        """
        ...


@dataclass(frozen=True, slots=True)
class Left:
    """A batch that went to the model, as the metrics see it.

    Attributes
    ----------
    reason : str
        `idle`: the model was free when the first text came; `freed`: it had become free;
        `full`: more was waiting than one batch may hold.
    waited_s : float
        From the arrival of the oldest request in it.
    """

    reason: Reason
    size: int
    waited_s: float


class Watch(Protocol):
    """Where a batcher tells what it does. Must not raise."""

    def left(self, batch: Left) -> None: ...
    def ran(self, size: int, model_s: float) -> None: ...
    def depth(self, waiting: int) -> None: ...


class _Work:
    """One request's texts, some of which may be answered already."""

    __slots__ = (
        "answer",
        "arrived",
        "gone",
        "next",
        "pending",
        "rows",
        "texts",
        "watcher",
    )

    def __init__(self, texts: Sequence[str], answer: asyncio.Future[Rows], gone: Gone | None) -> None:
        self.texts = texts
        self.answer = answer
        self.gone = gone
        self.arrived = perf_counter()
        self.next = 0
        self.pending = len(texts)
        self.rows: Rows = [[]] * len(texts)
        self.watcher: asyncio.Task[None] | None = None

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


_Slice = tuple[_Work, int, int]


class Batcher:
    """A `Backend` that gathers what arrives together and runs it at once.

    Parameters
    ----------
    run : async callable
        Rows for the texts of one batch.
    max_batch : int
        Most texts in one batch.
    max_wait_s : float
        A request is refused when it would wait longer than this for its turn, at the latest pace.
    max_queue : int
        Most texts that wait, whatever the pace.
    deadline_s : float
        A request that is older gets no answer any more; one that could not be done by then is refused.
    lanes : int
        Batches under way at the same time: copies of the model behind `run`.
    room : int, optional
        Requests that may wait, whatever the pace; under lasting overload, half as many. Default: a batch.
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
        room: int | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        # What a long request may take of a batch while others wait.
        self._share = max(1, max_batch // 4)
        self._max_wait_s = max_wait_s
        self._max_queue = max_queue
        self._deadline_s = deadline_s
        self._free = self._lanes = lanes
        self._watch = watch
        self._queue: deque[_Work] = deque()
        self._open: deque[_Work] = deque()
        self._waiting = 0
        # Texts that go before those of a request that comes now: of a long one, only its share of a batch.
        self._ahead = 0
        self._scheduled = False
        self._sweeping = False
        self._closed = False
        self._batches: set[asyncio.Task[None]] = set()
        self._paced_from = 0.0
        self._room = room or max_batch
        self._strict_room = max(1, self._room // 2)
        self._calm_at = self._looked_at = 0.0
        self._longest = self._strict_ticks = 0
        self._texts_done = 0.0
        self._seconds_busy = 0.0

    @property
    def waiting(self) -> int:
        """Texts that wait for a batch."""
        return self._waiting

    async def predict(self, texts: Sequence[str], *, gone: Gone | None = None) -> Rows:
        """Rows for `texts`, in order.

        Parameters
        ----------
        gone : async callable, optional
            Returns when the client has left; called only for requests that wait.

        Raises
        ------
        Busy
            At once, if too much is waiting.
        TooSlow
            If the deadline passes.
        ClientGone
            If `gone` returns first.
        ServiceUnavailable
            If the batcher is closed, or the model is away.
        """
        if not texts:
            return []
        if self._closed:
            raise ServiceUnavailable("The server is stopping.")
        if (wait_s := self.wait_s(len(texts))) is not None:
            raise Busy(wait_s)
        loop = asyncio.get_running_loop()
        work = _Work(texts, loop.create_future(), gone)
        self._queue.append(work)
        self._open.append(work)
        if len(self._queue) <= self._room:
            self._calm_at = work.arrived
        self._waiting += len(texts)
        self._ahead += min(len(texts), self._share)
        if self._free and not self._scheduled:
            # After all that this turn of the event loop has read from its sockets has queued up too.
            self._scheduled = True
            loop.call_soon(self._send, loop, "idle")
        if not self._sweeping:
            self._sweeping = True
            loop.call_later(_TICK_S, self._sweep, loop)
        try:
            return await work.answer
        finally:
            if work.watcher is not None:
                work.watcher.cancel()

    def wait_s(self, texts: int = 1, *, coming: int = 0) -> float | None:
        """Seconds until so many more texts may come; none: they may come now."""
        requests, waiting = len(self._queue) + coming, self._waiting + coming
        if waiting < self._strict_room:
            return None
        now = perf_counter()
        text_s = self._text_s
        if requests >= self._room and self._stands(requests, now):
            self._become_strict()
        room, patience_s = (self._strict_room, 0.0) if self._strict_ticks else (self._room, self._max_wait_s)
        turn_s, done_s = (self._ahead + coming) * text_s, (waiting + texts) * text_s
        in_time = done_s <= self._deadline_s and waiting + texts <= self._max_queue
        if in_time and (requests < room or turn_s <= patience_s):
            return None
        if self._strict_ticks:
            self._become_strict()
        return max(turn_s, done_s - self._deadline_s, 0.1)

    def _become_strict(self) -> None:
        """Be strict until nobody had to be refused for a while, told in turns of a timer.

        The clock alone would take a machine that stood still for calm. A slow model refuses and takes in by turns; a
        pause between two refusals is no end of the overload, either.
        """
        if not self._strict_ticks:
            asyncio.get_running_loop().call_later(_TICK_S, self._tick)
        self._strict_ticks = max(_CALM_TICKS, int(_TURNS * self._room * self._text_s / _TICK_S))

    def _tick(self) -> None:
        self._strict_ticks -= 1
        if self._strict_ticks:
            asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    def _stands(self, requests: int, now: float) -> bool:
        """Whether a queue that is longer than the room has been so for a while, and does not get shorter, either."""
        if self._looked_at < self._calm_at:
            self._looked_at, self._longest = now, 0
        self._longest = max(self._longest, requests)
        if now - self._looked_at < _STANDING_S:
            return False
        stands = requests >= _STILL_THERE * self._longest
        self._looked_at, self._longest = now, requests
        return stands

    def _send(self, loop: asyncio.AbstractEventLoop, reason: Reason) -> None:
        self._scheduled = False
        while self._free and self._queue:
            slices = self._gather()
            if not slices:
                break
            if self._free == self._lanes and reason == "idle":
                self._paced_from = perf_counter()
            self._free -= 1
            texts = [text for work, start, stop in slices for text in work.texts[start:stop]]
            if self._watch is not None:
                full: Reason = "full" if len(texts) >= self._max_batch and self._waiting else reason
                oldest = min(work.arrived for work, _, _ in slices)
                self._watch.left(Left(full, len(texts), perf_counter() - oldest))
            task = loop.create_task(self._batch(loop, slices, texts))
            self._batches.add(task)
            task.add_done_callback(self._batches.discard)
        if self._watch is not None:
            self._watch.depth(self._waiting)

    def _gather(self) -> list[_Slice]:
        slices: list[_Slice] = []
        room = self._max_batch
        while room and self._queue:
            work = self._queue.popleft()
            rest = len(work.texts) - work.next
            self._ahead -= min(rest, self._share)
            if work.answer.done():
                self._waiting -= rest
                continue
            take = min(rest, room, self._share) if self._queue else min(rest, room)
            slices.append((work, work.next, work.next + take))
            work.next += take
            room -= take
            self._waiting -= take
            if take < rest:
                # Behind the others, so that a long request delays nobody by more than a batch.
                self._queue.append(work)
                self._ahead += min(rest - take, self._share)
        if len(self._queue) < self._room:
            self._calm_at = perf_counter()
        return slices

    async def _batch(self, loop: asyncio.AbstractEventLoop, slices: list[_Slice], texts: list[str]) -> None:
        started = perf_counter()
        try:
            rows = await self._run(texts)
        except ServiceUnavailable as error:
            for work, _, _ in slices:
                work.fail(error)
        except Exception as error:
            await self._one_by_one(slices, error)
        else:
            ended = perf_counter()
            self._keep_pace(len(texts), ended - self._paced_from)
            if self._watch is not None:
                self._watch.ran(len(texts), ended - started)
            position = 0
            for work, start, stop in slices:
                self._deliver(work, start, rows[position : position + stop - start])
                position += stop - start
        finally:
            self._free += 1
            self._paced_from = perf_counter()
            if self._queue and not self._scheduled:
                self._scheduled = True
                loop.call_soon(self._send, loop, "freed")

    @property
    def _text_s(self) -> float:
        """Seconds a text takes at the latest pace; 0 before the first batch."""
        return self._seconds_busy / (self._texts_done or 1.0)

    def _keep_pace(self, texts: int, seconds: float) -> None:
        if self._texts_done:
            seconds = min(seconds, _OUTLIER * texts * self._text_s)
        self._texts_done = _MEMORY * self._texts_done + texts
        self._seconds_busy = _MEMORY * self._seconds_busy + seconds

    async def _one_by_one(self, slices: list[_Slice], error: Exception) -> None:
        """A model should not fail for a text; if it does, the others of its batch are answered all the same."""
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
        if not work.pending and not work.answer.done():
            work.answer.set_result(work.rows)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """End what is overdue, and look after the clients of what waits."""
        now = perf_counter()
        while self._open and (self._open[0].answer.done() or now - self._open[0].arrived > self._deadline_s):
            self._open.popleft().fail(TooSlow(f"No answer within {self._deadline_s:g} s."))
        for work in self._open:
            if now - work.arrived < _TICK_S:
                break
            if work.gone is not None and work.watcher is None and not work.answer.done():
                work.watcher = loop.create_task(self._until_gone(work, work.gone))
        self._sweeping = bool(self._open)
        if self._sweeping:
            loop.call_later(_TICK_S, self._sweep, loop)

    @staticmethod
    async def _until_gone(work: _Work, gone: Gone) -> None:
        await gone()
        work.fail(ClientGone("The client has left."))

    async def close(self) -> None:
        """Take nothing more, and finish what was taken."""
        self._closed = True
        while self._batches or self._queue:
            if self._batches:
                await asyncio.wait(self._batches)
            await asyncio.sleep(0)


def retry_after(wait_s: float) -> int:
    """Whole seconds for the header `Retry-After`."""
    return max(1, math.ceil(wait_s))
