"""The recorder: a process beside each server process that stores its answers.

`python -m polarity.record.recorder FD` reads frames from the socket with that
file descriptor, writes each to the local file in one transaction, and sends a
receipt. Describing, writing and shipping the rows costs the server nothing but
the frame: its interpreter lock is its own. The process ends when the socket does,
after it has stored what it received, however the server ended.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time

import msgspec

from polarity.errors import PolarityError
from polarity.record.answer import Frame, Receipt, Served
from polarity.record.challenge import ChallengeWatch
from polarity.record.frames import Frames, framed
from polarity.record.options import RecordOptions
from polarity.record.retention import Retention
from polarity.record.shipper import Shipper
from polarity.record.spool import Spool

_logger = logging.getLogger("bentoml.polarity")

_RECEIVE_BYTES = 2**18
_REOPEN_S = 0.2
_MEASURE_S = 1.0

_decoder = msgspec.msgpack.Decoder(Frame)
_encode = msgspec.msgpack.Encoder().encode


class Recorder:
    """Stores frames in the local file, opens it again after a failure, and keeps its measures.

    Parameters
    ----------
    options : RecordOptions
    served : Served
        The model that gives the answers.
    """

    def __init__(self, options: RecordOptions, served: Served) -> None:
        self._options = options
        self._served = served
        self._spool: Spool | None = None
        self._evicted = 0
        self._failed_at = float("-inf")
        self._problem = ""
        self._bytes_used = 0
        self._measured_at = float("-inf")
        self._shipper = Shipper(options.local_file, options.database) if options.database else None
        self._retention = Retention(options)
        self._challenge = ChallengeWatch(options)

    def store(self, frames: list[Frame]) -> Receipt:
        """Store the rows of `frames` in one transaction."""
        answers = [answer for frame in frames for answer in frame.answers]
        traffic = [minute for frame in frames for minute in frame.traffic]
        problem: str | None = None
        try:
            spool = self._open()
            spool.write(answers, traffic, [pair for frame in frames for pair in frame.mirrored])
            if (now := time.monotonic()) - self._measured_at > _MEASURE_S:
                self._measured_at, self._bytes_used = now, spool.bytes_used
        except Exception as error:
            problem = " ".join(str(error).split()) or type(error).__name__
            self._failed_at, self._problem = time.monotonic(), problem
            self._close_spool()
        receipt = Receipt(problem=problem, evicted=self._evicted, bytes_used=self._bytes_used)
        if self._spool is not None:
            receipt.evicted += self._spool.evicted
        if self._shipper is not None:
            receipt.unshipped, receipt.unshipped_s = self._shipper.unshipped, self._shipper.unshipped_s
            receipt.database_problem = self._shipper.problem
        receipt.challenge = self._challenge.current
        return receipt

    def _open(self) -> Spool:
        if self._spool is None:
            if time.monotonic() - self._failed_at < _REOPEN_S:
                raise PolarityError(self._problem)
            options = self._options
            self._spool = Spool(
                options.local_file,
                served=self._served,
                texts=options.log_texts,
                limit_bytes=options.spool_bytes,
                evict=options.database is None,
            )
        return self._spool

    def _close_spool(self) -> None:
        if self._spool is not None:
            self._evicted += self._spool.evicted
            try:
                self._spool.close()
            except Exception as error:
                _logger.warning("'%s' could not be closed: %s", self._spool.path, error)
            self._spool = None

    def close(self) -> None:
        """Ship what is left, and close the file."""
        self._retention.close()
        self._challenge.close()
        if self._shipper is not None:
            self._shipper.close()
        self._close_spool()


def run(connection: socket.socket, options: RecordOptions) -> None:
    """Answer every frame with a receipt until the server closes the connection."""
    frames = Frames()
    recorder: Recorder | None = None
    try:
        while data := connection.recv(_RECEIVE_BYTES):
            received = [_decoder.decode(message) for message in frames.feed(data)]
            if not received:
                continue
            if recorder is None:
                assert received[0].served is not None
                recorder = Recorder(options, received[0].served)
            receipt = framed(_encode(recorder.store(received)))
            try:
                connection.sendall(receipt * len(received))
            except OSError:
                continue  # the server is gone: what it sent is still to be stored
    finally:
        if recorder is not None:
            recorder.close()


def main() -> None:
    """Run until the socket with the given file descriptor is closed."""
    # Ctrl-C and a supervisor's signal reach every process of the group; this one stops after its server.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.basicConfig(format="%(asctime)s [%(levelname)s] [recorder] %(message)s", level=logging.WARNING)
    if sys.platform == "linux":
        # A frame does not interrupt the server where both compute on one core; the share of the core is the same.
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        run(connection, RecordOptions.read())


if __name__ == "__main__":
    main()
