"""The mirror: sends a share of the answered texts to a challenger, and records what it answers; no client sees that.

Texts wait in a bounded queue and go in bunches over a connection of the mirror's own, one at a time. A challenger that
is slow, away, or answers nonsense loses texts, which are counted, and costs the answers of this server nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

from polarity.record.answer import Answer, Challenge, Mirrored
from polarity.record.labelling import LEAST_INCLUSION
from polarity.serving.challenger import BadAnswer, ChallengerAnswer, ask, session_for
from polarity.serving.rules import MAX_TEXTS

_logger = logging.getLogger("bentoml.polarity")

Fate = Literal["recorded", "dropped", "failed"]

_MAX_WAITING, _MAX_CHARACTERS = 4_096, 1_000_000
_BUNCH = 256
assert _BUNCH <= MAX_TEXTS
# So long texts gather; a challenger that answers faster than texts come would get each by itself.
_GATHER_S = 0.05
_TIMEOUT_S = 10.0
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.5, 30.0


class Waiting(NamedTuple):
    """A text on its way to the challenger, with what the served model answered."""

    prediction_id: str
    text: str
    sentiment: str
    draw_probability: float
    drawn: bool


class Mirror:
    """Mirrors answers to a challenger; used on one event loop.

    Parameters
    ----------
    record : callable
        Takes the challenger's answers; returns whether there was room for them.
    report : callable
        Called with a fate and the number of texts that had it.
    key : str
        The API key that the challenger requires, if any.
    """

    def __init__(
        self,
        record: Callable[[Sequence[Mirrored]], bool],
        *,
        report: Callable[[Fate, int], None],
        key: str = "",
    ) -> None:
        self.share = 0.0
        self._labels: frozenset[str] = frozenset()
        self._record = record
        self._report = report
        self._key = key
        self._address = ""
        self._chance = random.Random()
        self._waiting: deque[Waiting] = deque()
        self._characters = 0
        self._filled = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def serve(self, labels: Sequence[str]) -> None:
        """Mirror the answers of another model from now on: a challenger must have its labels."""
        self._labels = frozenset(labels)

    def follow(self, challenge: Challenge | None) -> None:
        """Mirror as this says from now on; None stops."""
        address, share = (challenge.address, challenge.share) if challenge is not None else ("", 0.0)
        self.share = share if address else 0.0
        if address == self._address:
            return
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._forget_waiting("dropped")
        self._address = address
        if address:
            _logger.info("Answered texts are mirrored to the challenger at %s.", address)
            self._task = asyncio.get_running_loop().create_task(self._mirror(address))

    def offer(self, answer: Answer) -> None:
        """Mirror an answer if it is its turn and there is room; never waits."""
        if self._chance.random() >= self.share:
            return
        if len(self._waiting) >= _MAX_WAITING or self._characters + len(answer.text) > _MAX_CHARACTERS:
            self._report("dropped", 1)
            return
        self._characters += len(answer.text)
        self._waiting.append(Waiting(answer.id, answer.text, answer.sentiment, answer.draw_probability, answer.drawn))
        self._filled.set()

    async def close(self) -> None:
        """Stop; what waits is dropped."""
        task, self._task = self._task, None
        self.follow(None)
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _mirror(self, address: str) -> None:
        async with session_for(connections=1, timeout_s=_TIMEOUT_S, key=self._key) as session:
            pause_s, failing = 0.0, False
            while True:
                await self._filled.wait()
                await asyncio.sleep(_GATHER_S if len(self._waiting) < _BUNCH else 0)
                bunch = self._take()
                try:
                    answers = await ask(session, address, [one.text for one in bunch], self._labels)
                except Exception as error:
                    if not failing:
                        _logger.warning(
                            "The challenger at %s does not answer as it should (%s); it costs no client anything.",
                            address,
                            error if isinstance(error, BadAnswer) else type(error).__name__,
                        )
                    failing = True
                    self._report("failed", len(bunch))
                    pause_s = min(max(_FIRST_PAUSE_S, 2 * pause_s), _MAX_PAUSE_S)
                    await asyncio.sleep(pause_s)
                    # What waited meanwhile would come late, and too much of it at once.
                    self._forget_waiting("dropped")
                    continue
                pause_s, failing = 0.0, False
                now = time.time()
                pairs = [self._pair(one, given, now) for one, given in zip(bunch, answers, strict=True) if given]
                recorded = self._record(pairs)
                self._report("recorded" if recorded else "dropped", len(pairs))
                if len(bunch) > len(pairs):
                    self._report("failed", len(bunch) - len(pairs))

    def _take(self) -> list[Waiting]:
        bunch = [self._waiting.popleft() for _ in range(min(_BUNCH, len(self._waiting)))]
        self._characters -= sum(len(one.text) for one in bunch)
        if not self._waiting:
            self._filled.clear()
        return bunch

    def _forget_waiting(self, fate: Fate) -> None:
        if self._waiting:
            self._report(fate, len(self._waiting))
        self._waiting.clear()
        self._characters = 0
        self._filled.clear()

    def _pair(self, one: Waiting, answer: ChallengerAnswer, now: float) -> Mirrored:
        inclusion, asked = None, False
        if answer.sentiment != one.sentiment:
            # Labels of drawn answers are of a random share of the traffic, and stay so: those are not asked for here.
            inclusion = 1 - one.draw_probability
            asked = not one.drawn and inclusion >= LEAST_INCLUSION
        return Mirrored(one.prediction_id, answer.served.version, now, answer.sentiment, answer.score, inclusion, asked)
