"""The server's side of the record: answers go to the recorder, receipts come back.

Rows are sent to the recorder process as they are answered, those of one event
loop iteration in one frame. Either an answer waits until its row is stored
(`durable`), or it is sent at once and its row is kept in memory until the receipt,
up to a limit. A recorder that died is started again, and gets what it has not
confirmed; ids are primary keys, so nothing is stored twice.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from polarity.errors import ServiceUnavailable
from polarity.record.answer import Answer, Challenge, Frame, Mirrored, Origin, Outcome, Receipt, Review, Served, Traffic
from polarity.record.frames import Frames, framed
from polarity.record.options import RecordOptions

if TYPE_CHECKING:
    from polarity.record.status import RecordStatus
    from polarity.record.store import RecordStore

T = TypeVar("T")

_logger = logging.getLogger("bentoml.polarity")

_MAX_ROWS = 50_000
# Answers of a challenger in memory; they have a limit of their own, so that they take no place of an answer.
_MAX_MIRRORED = 20_000
# How long an answer waits for its row, and how long after a failure rows are sent again.
_PATIENCE_S, _RETRY_S = 10.0, 0.5
# How long the rows that could not be stored are sent again at the end.
_LAST_TRIES_S = 2.0
_RESTART_S, _POLL_S = 0.5, 0.05
_REPORT_S = 0.1
# A recorder that hangs is asked nothing more.
_MAX_UNCONFIRMED = 100
_START_S, _STOP_S = 30.0, 20.0
# How long feedback waits for a prediction that another server process has made but not yet stored.
_OTHER_PROCESSES_DELAY_S = 0.5

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Receipt)


class RecordUnavailable(ServiceUnavailable):
    """An answer or a label cannot be recorded at the moment."""


Waiting = list[tuple["asyncio.Future[Any]", Any]]


class _Sent:
    """A frame that the recorder has not confirmed, the futures that wait for it, and what those will be."""

    __slots__ = ("frame", "sent_at", "waiting")

    def __init__(self, frame: Frame, waiting: Waiting) -> None:
        self.frame = frame
        self.waiting = waiting
        self.sent_at = 0.0


class _StoreThread:
    """A thread with a store of its own."""

    def __init__(self, options: RecordOptions) -> None:
        self._options = options
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="record")
        self._store: RecordStore | None = None

    async def run(self, task: Callable[[RecordStore], T]) -> T:
        def run() -> T:
            # Not before the first use: SQLAlchemy would be half of a server's start.
            from polarity.record.store import RecordStore

            try:
                if self._store is None:
                    self._store = RecordStore(self._options)
                return task(self._store)
            except Exception as error:
                self._store = None
                raise RecordUnavailable(f"The prediction log does not answer: {error}.") from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    def close(self) -> None:
        self._thread.shutdown()
        if self._store is not None:
            self._store.close()


class PredictionLog(asyncio.Protocol):
    """Sends answers to a recorder process; used on one event loop.

    Parameters
    ----------
    options : RecordOptions
    served : Served
        The model that gives the answers.
    limit : int
        Maximum number of rows in memory.
    report : callable, optional
        Called with the log itself after a receipt, ten times a second at most.
    environment : mapping, optional
        The recorder's environment. Default: this process's.

    Attributes
    ----------
    served : Served
        The present model, to which minutes of traffic are attributed.
    written, dropped : int
        Rows that have been stored, and rows that have been discarded because too many were waiting.
    receipt : Receipt
        The last one.
    """

    def __init__(
        self,
        options: RecordOptions,
        served: Served,
        *,
        limit: int = _MAX_ROWS,
        report: Callable[[PredictionLog], None] | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.durable = options.log_durable
        self.written = self.dropped = 0
        self.receipt = Receipt()
        self._options = options
        self.served = served
        self._limit = limit
        self._report = report
        self._environment = environment
        self._answers: list[Answer] = []
        self._traffic: list[Traffic] = []
        self._mirrored: list[Mirrored] = []
        self._mirrored_rows = 0
        self._waiting: Waiting = []
        self._reported_at = float("-inf")
        self._unconfirmed: deque[_Sent] = deque()
        self._failed: list[_Sent] = []
        self._rows = 0
        self._scheduled = False
        self._retrying = False
        self._closing = False
        self._transport: asyncio.Transport | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._frames = Frames()
        self._restart: asyncio.Task[None] | None = None
        self._store = _StoreThread(options)
        self._reading = _StoreThread(options)

    @property
    def problem(self) -> str | None:
        """With `durable`, why no answer can be given at the moment, or `None`."""
        if not self.durable or self.receipt.problem is None:
            return None
        return f"The prediction log cannot be written: {self.receipt.problem}"

    @property
    def challenge(self) -> Challenge | None:
        """Where the challenger is, as set in the record while running; at most seconds old."""
        return self.receipt.challenge

    @property
    def recorder(self) -> int | None:
        """Process id of the recorder."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Start the recorder, and wait for its first receipt for a while."""
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        await self._connect()
        try:
            async with asyncio.timeout(_START_S):
                await self._ready.wait()
        except TimeoutError:
            _logger.warning("The recorder is not ready after %.0f s; requests are answered nevertheless.", _START_S)
        self._loop.call_later(1.0, self._check_patience)

    async def _connect(self) -> None:
        own, its = socket.socketpair()
        with its:
            paths = os.pathsep.join(path for path in sys.path if path)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "polarity.record.recorder", str(its.fileno())],
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                env={**self._environment, "PYTHONPATH": paths},
            )
        own.setblocking(False)
        self._frames = Frames()
        self._transport, _ = await self._loop.create_connection(lambda: self, sock=own)
        unconfirmed, self._unconfirmed = self._unconfirmed, deque()
        self._dispatch(_Sent(Frame(served=self.served), []))
        for sent in unconfirmed:
            self._dispatch(sent)

    def add(self, answer: Answer) -> None:
        """Send `answer` to be stored; never blocks.

        Raises
        ------
        RecordUnavailable
            With `durable`, if too many rows are waiting already.
        """
        if self._rows >= self._limit:
            if self.durable:
                raise RecordUnavailable("The prediction log does not keep up.")
            self.dropped += 1
            return
        self._rows += 1
        self._answers.append(answer)
        self._schedule()

    def stored(self) -> asyncio.Future[None] | None:
        """What to wait for after `add` in the same event loop iteration, or `None` without `durable`.

        The future raises `RecordUnavailable` if the rows cannot be stored.
        """
        if not self.durable or not self._answers:
            return None
        stored = self._loop.create_future()
        self._waiting.append((stored, None))
        return stored

    def settle(self, future: asyncio.Future[T], value: T) -> bool:
        """Set the result of a future: with `durable` when what was added in this event loop iteration is stored.

        If it cannot be stored, the future raises `RecordUnavailable`. Return whether it waits.
        """
        if self.durable and self._answers:
            self._waiting.append((future, value))
            return True
        future.set_result(value)
        return False

    def add_traffic(self, minute: Traffic) -> None:
        """Send the counts of a minute to be stored."""
        minute.bento = self.served.bento
        self._traffic.append(minute)
        self._schedule()

    def add_mirrored(self, pairs: Sequence[Mirrored]) -> bool:
        """Send what a challenger answered to be stored; return whether there was room."""
        if self._mirrored_rows + len(pairs) > _MAX_MIRRORED:
            return False
        self._mirrored_rows += len(pairs)
        self._mirrored += pairs
        self._schedule()
        return True

    def _schedule(self) -> None:
        if not self._scheduled:
            # After the answers that this event loop iteration completes, too.
            self._scheduled = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._scheduled = False
        if not self._answers and not self._traffic and not self._mirrored:
            return
        sent = _Sent(Frame(self._answers, self._traffic, mirrored=self._mirrored), self._waiting)
        self._answers, self._traffic, self._mirrored, self._waiting = [], [], [], []
        self._dispatch(sent)

    def _dispatch(self, sent: _Sent) -> None:
        sent.sent_at = self._loop.time()
        self._unconfirmed.append(sent)
        self._write(sent.frame)

    def _write(self, frame: Frame) -> None:
        if self._transport is None or self._transport.is_closing():
            return  # sent when there is a recorder again
        try:
            message = _encode(frame)
        except UnicodeEncodeError:
            for answer in frame.answers:
                answer.text = answer.text.encode("utf-8", "replace").decode()
            message = _encode(frame)
        self._transport.write(framed(message))

    def data_received(self, data: bytes) -> None:
        """Take receipts, in the order of the frames."""
        self._ready.set()
        for message in self._frames.feed(data):
            self.receipt = receipt = _decoder.decode(message)
            sent = self._unconfirmed.popleft()
            if receipt.problem is None:
                if self._retrying and sent.frame.answers:
                    self._retrying = False
                    _logger.warning(
                        "The prediction log is writable again; %d rows have been dropped so far.", self.dropped
                    )
                self.written += len(sent.frame.answers)
                self._rows -= len(sent.frame.answers)
                self._mirrored_rows -= len(sent.frame.mirrored)
                for future, value in sent.waiting:
                    if not future.done():
                        future.set_result(value)
            else:
                self._not_stored(sent, receipt.problem)
        if self._report is not None and (now := self._loop.time()) - self._reported_at >= _REPORT_S:
            self._reported_at = now
            self._report(self)

    def _not_stored(self, sent: _Sent, problem: str) -> None:
        if not self._retrying:
            self._retrying = True
            _logger.warning(
                "The prediction log cannot be written (%s); %s.",
                problem,
                "predictions are refused with 503" if self.durable else "requests are still answered",
            )
        if self.durable:
            self._rows -= len(sent.frame.answers)
            _fail(sent.waiting, problem)
            sent.frame.answers = []
        if _holds_rows(sent.frame):
            if not self._failed:
                self._loop.call_later(_RETRY_S, self._send_again)
            self._failed.append(sent)

    def _send_again(self) -> None:
        failed, self._failed = self._failed, []
        for sent in failed:
            self._dispatch(sent)

    def _sent_before(self, at: float) -> bool:
        """Whether the recorder has not confirmed everything that was sent before a time."""
        return bool(self._unconfirmed) and self._unconfirmed[0].sent_at < at

    def _check_patience(self) -> None:
        """Fail the answers that have waited too long; their rows may still be stored."""
        latest = self._loop.time() - _PATIENCE_S
        for sent in self._unconfirmed:
            if sent.sent_at > latest:
                break
            _fail(sent.waiting, "it did not respond in time")
        # The receipt tells of a challenge that was set meanwhile, and whether the file can be written again, neither of
        # which is learned from answers when none are asked for.
        if self._transport is not None and len(self._unconfirmed) < _MAX_UNCONFIRMED:
            self._dispatch(_Sent(Frame(), []))
        if not self._closing:
            self._loop.call_later(1.0, self._check_patience)

    def connection_lost(self, exc: Exception | None) -> None:
        """Start another recorder."""
        self._transport = None
        if not self._closing:
            code = self._process.poll() if self._process is not None else None
            _logger.warning("The recorder has ended (exit code %s); it is started again.", code)
            self._restart = self._loop.create_task(self._reconnect())

    async def _reconnect(self) -> None:
        # The first entry is the receipt for the model's frame, which a new recorder gets anew.
        self._unconfirmed = deque(s for s in self._unconfirmed if _holds_rows(s.frame) or s.waiting)
        await asyncio.sleep(_RESTART_S)
        if self._process is not None:
            self._process.poll()
        try:
            await self._connect()
        except OSError as error:
            _logger.warning("The recorder cannot be started: %s", error)
            self._restart = self._loop.create_task(self._reconnect())

    async def feedback(self, prediction_id: str, label: str, origin: Origin = "volunteered") -> Outcome:
        """Store the true label of a prediction.

        Raises
        ------
        RecordUnavailable
            If the store cannot be reached.
        """

        async def store() -> Outcome:
            return await self.in_store(lambda store: store.add_feedback(prediction_id, label, time.time(), origin))

        outcome = await store()
        if outcome == "unknown":
            # It may be so recent that it is not yet stored, by this or another server process.
            asked_at = self._loop.time()
            await asyncio.sleep(_OTHER_PROCESSES_DELAY_S)
            while self._sent_before(asked_at) and self._loop.time() < asked_at + _PATIENCE_S:
                await asyncio.sleep(_POLL_S)
            outcome = await store()
        return outcome

    async def review(self, limit: int) -> Review:
        """The latest answers that wait for a label.

        Raises
        ------
        RecordUnavailable
            If the store cannot be reached.
        """
        return await self.in_store(lambda store: store.review(limit))

    async def status(self) -> RecordStatus:
        """The state of the record.

        Raises
        ------
        RecordUnavailable
            If the store cannot be reached.
        """

        def read(store: RecordStore) -> RecordStatus:
            from polarity.record.status import record_status

            return record_status(store)

        return await self.in_store(read)

    async def in_store(self, task: Callable[[RecordStore], T], *, reading: bool = False) -> T:
        """Run `task` in the thread that owns a store.

        Parameters
        ----------
        reading : bool
            Use a thread of its own for what may read for seconds, so that labels do not wait for it.

        Raises
        ------
        RecordUnavailable
            If the store cannot be reached.
        """
        return await (self._reading if reading else self._store).run(task)

    async def close(self) -> None:
        """Let the recorder store the remaining rows and stop."""
        if self._answers or self._traffic or self._mirrored:
            self._send()
        self._closing = True
        self._send_again()
        now = self._loop.time()
        while self._transport is not None and (self._unconfirmed or self._failed):
            if self._loop.time() > now + (_LAST_TRIES_S if self._failed else _PATIENCE_S):
                break
            await asyncio.sleep(_POLL_S)
        if lost := sum(len(sent.frame.answers) for sent in (*self._unconfirmed, *self._failed)):
            _logger.warning("%d rows of the prediction log could not be stored before the end.", lost)
        if self._restart is not None:
            self._restart.cancel()
        if self._transport is not None:
            self._transport.close()
        if self._process is not None:
            await self._loop.run_in_executor(None, self._wait)
        self._store.close()
        self._reading.close()

    def _wait(self) -> None:
        process: Any = self._process
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            _logger.warning("The recorder still ships rows; it continues by itself.")


def _holds_rows(frame: Frame) -> bool:
    return bool(frame.answers or frame.traffic or frame.mirrored)


def _fail(waiting: Waiting, problem: str) -> None:
    for future, _ in waiting:
        if not future.done():
            future.set_exception(RecordUnavailable(f"The prediction log cannot be written: {problem}."))
