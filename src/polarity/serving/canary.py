"""The canary: a challenger answers a share of the clients, always the same ones.

A challenger that fails, is late, or answers nonsense costs its client some time and nothing else: the served model
answers in the same request. After several such requests in a row the challenger is left alone for some seconds.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from time import perf_counter

import aiohttp

from polarity.record.answer import Challenge
from polarity.serving.challenger import BadAnswer, ChallengerAnswer, ask, session_for

_logger = logging.getLogger("bentoml.polarity")

_CONNECTIONS = 64
_FAILURES, _PAUSE_S = 5, 5.0


class Canary:
    """Asks a challenger for the answers of its clients; used on one event loop.

    Parameters
    ----------
    report : callable
        Called for each request with the challenger's duration in seconds, or None if it has to be covered for.
    deadline_s : float
        How long a client waits for the challenger.
    key : str
        The API key that the challenger requires, if any.

    Attributes
    ----------
    share : float
        Of the clients; 0 without a canary.
    """

    def __init__(
        self,
        *,
        report: Callable[[float | None], None],
        deadline_s: float,
        key: str = "",
    ) -> None:
        self.share = 0.0
        self._labels: tuple[str, ...] = ()
        self._own_version = ""
        self._challenge = Challenge("", 0.0)
        self._report = report
        self._deadline_s = deadline_s
        self._key = key
        self._address = self._version = ""
        self._session: aiohttp.ClientSession | None = None
        self._failures = 0
        self._paused_until = 0.0

    def serve(self, labels: Sequence[str], version: str) -> None:
        """Cover with another model from now on: a challenger must have its labels, and with its version has no client.

        A challenger that was promoted is such a one, as soon as this server has taken it over.
        """
        self._labels, self._own_version = tuple(labels), version
        self.follow(self._challenge)

    def follow(self, challenge: Challenge) -> None:
        """Let the challenger answer as this says from now on."""
        self._challenge = challenge
        usable = (
            self._own_version and challenge.address and challenge.version and challenge.version != self._own_version
        )
        if (challenge.address, challenge.version) != (self._address, self._version):
            self._address, self._version = challenge.address, challenge.version
            self._failures, self._paused_until = 0, 0.0
        share = challenge.clients if usable else 0.0
        if share != self.share:
            _logger.info("The challenger %s answers %.0f %% of the clients.", challenge.version, 100 * share)
        self.share = share

    def chooses(self, client: str) -> bool:
        """Whether a client is one of the challenger's; who is one of a share is one of every larger share."""
        digest = hashlib.blake2b(
            client.encode("utf-8", "surrogatepass"), digest_size=8, key=self._version.encode()[:64]
        ).digest()
        return int.from_bytes(digest, "big") < self.share * 2**64

    async def ask(self, texts: Sequence[str]) -> list[ChallengerAnswer | None]:
        """The challenger's answers in the order of the texts; None where the served model is to answer."""
        started = perf_counter()
        try:
            answers = await self._ask(texts)
        except Exception as error:
            self._failures += 1
            if self._failures == _FAILURES:
                _logger.warning(
                    "The challenger %s fails (%s); the served model answers its clients.",
                    self._version,
                    error if isinstance(error, BadAnswer) else type(error).__name__,
                )
            if self._failures >= _FAILURES:
                self._paused_until = perf_counter() + _PAUSE_S
            answers = [None] * len(texts)
        else:
            self._failures = 0
        self._report(None if None in answers else perf_counter() - started)
        return answers

    async def _ask(self, texts: Sequence[str]) -> list[ChallengerAnswer | None]:
        if perf_counter() < self._paused_until:
            return [None] * len(texts)
        if self._session is None:
            self._session = session_for(connections=_CONNECTIONS, timeout_s=self._deadline_s, key=self._key)
        version = self._version
        answers = await ask(self._session, self._address, texts, self._labels)
        if any(answer is not None and answer.served.version != version for answer in answers):
            raise BadAnswer(f"another model than {version}")
        return answers

    async def close(self) -> None:
        """Close the connections."""
        self.share = 0.0
        if self._session is not None:
            await self._session.close()
            # The connections close in the event loop's next round.
            await asyncio.sleep(0)
