"""The clients of the loop: they send tweets at a rate, report labels, and answer what they are asked to review."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import aiohttp

from ops.loop.tweets import Tweet

CLIENTS = 1000
"""Number of sources; a canary answers the same ones."""
_CONNECTIONS = 32
_REVIEW_EVERY_S = 2.0
_REVIEWED_AT_ONCE = 25


@dataclass(frozen=True)
class Sent:
    """A request that has ended; without an `answer` it is lost."""

    at: float
    tweet: Tweet
    prediction_id: str = ""
    answer: str = ""
    version: str = ""

    @property
    def answered(self) -> bool:
        return bool(self.answer)

    @property
    def correct(self) -> bool:
        return self.answer == self.tweet.label


class Clients:
    """Sends tweets to a server in a thread of its own.

    Attributes
    ----------
    sent : list of Sent
        In the order in which the answers came.
    labels : int
        Labels that were reported or reviewed.
    """

    def __init__(self, url: str, *, seed: int = 23) -> None:
        self.sent: list[Sent] = []
        self.labels = 0
        self.refused_labels = 0
        self._url = url
        self._random = random.Random(seed)
        self._truth: dict[str, str] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="clients", daemon=True)
        self._thread.start()
        self._session = self._run(self._open()).result()
        self._reviewing = self._run(self._review())

    def send(
        self, tweets: Iterable[Tweet], *, rate: float, labelled: float = 0.0, until: Callable[[], bool] | None = None
    ) -> Future[None]:
        """Send tweets in the background.

        Parameters
        ----------
        tweets : iterable of Tweet
        rate : float
            Requests a second.
        labelled : float
            Share of the answers whose true label is reported a little later.
        until : callable, optional
            Ends the sending as soon as it is true.
        """
        return self._run(self._send(tweets, rate, labelled, until))

    def close(self) -> None:
        """End all requests."""
        self._reviewing.cancel()
        self._run(self._session.close()).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self, coroutine: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
        return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30))

    async def _send(
        self, tweets: Iterable[Tweet], rate: float, labelled: float, until: Callable[[], bool] | None
    ) -> None:
        async with asyncio.TaskGroup() as requests:
            started = time.monotonic()
            for number, tweet in enumerate(tweets):
                if until is not None and until():
                    break
                requests.create_task(self._ask(tweet, labelled))
                await asyncio.sleep(max(0.0, started + (number + 1) / rate - time.monotonic()))

    async def _ask(self, tweet: Tweet, labelled: float) -> None:
        source = f"client-{self._random.randrange(CLIENTS)}"
        reports, later_s = self._random.random() < labelled, self._random.uniform(0.5, 3.0)
        try:
            async with self._session.post(
                f"{self._url}/predict", json={"text": tweet.text}, headers={"X-Source": source}
            ) as reply:
                given = await reply.json(content_type=None) if reply.status == 200 else None
        except (aiohttp.ClientError, TimeoutError):
            given = None
        if given is None:
            self.sent.append(Sent(time.time(), tweet))
            return
        name = given["prediction_id"]
        self.sent.append(Sent(time.time(), tweet, name, given["sentiment"], given["model"]["version"]))
        self._truth[name] = tweet.label
        if reports:
            await asyncio.sleep(later_s)
            await self._label({"prediction_id": name, "label": tweet.label})

    async def _label(self, label: dict[str, Any]) -> None:
        try:
            async with self._session.post(f"{self._url}/feedback", json=label) as reply:
                accepted = reply.status in (200, 201)
        except (aiohttp.ClientError, TimeoutError):
            accepted = False
        self.labels += accepted
        self.refused_labels += not accepted

    async def _review(self) -> None:
        """Label a few of the answers that people are asked about, again and again."""
        while True:
            await asyncio.sleep(_REVIEW_EVERY_S)
            try:
                async with self._session.get(f"{self._url}/review") as reply:
                    items = (await reply.json())["items"] if reply.status == 200 else []
            except (aiohttp.ClientError, TimeoutError):
                continue
            known = [item["prediction_id"] for item in items if item["prediction_id"] in self._truth]
            for name in known[:_REVIEWED_AT_ONCE]:
                await self._label({"prediction_id": name, "label": self._truth[name], "review": True})
