"""Following a Bento store's `latest`: a running server takes over the Bento that the pointer names.

The pointer is a small file that a promotion or a rollback replaces. Reading it a
few times a second costs less than one request, and nothing else is asked. A Bento
is its model and its code; only one with the code that is running can be taken
over, so that an answer is always what the Bento that it names would answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from polarity.errors import ArtifactError, PolarityError
from polarity.inference.package import MANIFEST
from polarity.inference.signature import SIGNATURE
from polarity.serving import metrics

_logger = logging.getLogger("bentoml.polarity")

_POLL_S = 0.25
_SOURCES, _MODEL = "src", "model"
# The event loop waits for the interpreter's lock this long at most while a model is built, instead of 5 ms.
_SWITCH_INTERVAL_S = 0.0005


class NewBento(NamedTuple):
    """A Bento that a server takes over: its tag, and the folder of its packaged model."""

    tag: str
    model: Path


class Follower:
    """Watches a pointer and lets the server take over what it names.

    Parameters
    ----------
    pointer : Path
        The file with the version, beside the versions' folders: `bentos/NAME/latest`.
    version : str
        The version that is served at first.
    take_over : async callable
        Serves a new Bento from now on; raises a `PolarityError` if that is impossible, and nothing has changed then.
    check : callable
        Called with the folder of a new Bento first, in a thread; raises a `PolarityError` if it must not be served.

    Attributes
    ----------
    tag : str
        What is followed, e.g. `sentiment:latest`.
    problem : str or None
        Why the Bento that the pointer names is not served, or `None`.
    """

    def __init__(
        self,
        pointer: Path,
        version: str,
        take_over: Callable[[NewBento], Awaitable[None]],
        *,
        check: Callable[[Path], object],
    ) -> None:
        self.tag = f"{pointer.parent.name}:{pointer.name}"
        self.problem: str | None = None
        self._pointer = pointer
        self._take_over = take_over
        self._check = check
        self._served = version
        self._code: str | None = None
        self._seen = self._mark(version)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Follow from now on, on the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def close(self) -> None:
        """Follow no longer."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self) -> None:
        # Read now, because the served Bento may be deleted as soon as it is no longer the latest.
        self._code = await asyncio.to_thread(code_digest, self._folder(self._served))
        while True:
            with suppress(OSError):
                version = self._pointer.read_text().strip()
                mark = self._mark(version)
                if version and mark != self._seen:
                    self._seen = mark
                    await self._follow(version)
            await asyncio.sleep(_POLL_S)

    async def _follow(self, version: str) -> None:
        tag = f"{self._pointer.parent.name}:{version}"
        try:
            if Path(version).name != version:
                raise ArtifactError(f"'{self._pointer}' names '{version}', which is not a version.")
            await asyncio.to_thread(self._check, self._folder(version))
            code = await asyncio.to_thread(code_digest, self._folder(version))
            if code != self._code:
                raise ArtifactError("its code is not the running code; restart the server to serve it")
            await self._take_over(NewBento(tag, self._folder(version) / _SOURCES / _MODEL))
        except Exception as error:
            # Whatever is wrong with the new Bento, the present one goes on answering.
            reason = str(error) if isinstance(error, (PolarityError, OSError)) else repr(error)
            self.problem = f"{tag} is not served: {reason}"
            _logger.error("%s still serves %s. %s", self.tag, self._served, self.problem)
        else:
            self.problem = None
            _logger.info("%s is %s now, which is served instead of %s.", self.tag, version, self._served)
            self._served = version
        metrics.following(problem=self.problem is not None)

    def _folder(self, version: str) -> Path:
        return self._pointer.parent / version

    def _mark(self, version: str) -> tuple[str, int, int]:
        """What is different if there is something new to serve: a package that was repaired or signed counts, too."""
        folder = self._folder(version)
        return version, _modified(folder / _SOURCES / _MODEL / MANIFEST), _modified(folder / SIGNATURE)


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def code_digest(bento: Path) -> str:
    """The sha256 of a Bento's Python files.

    Raises
    ------
    ArtifactError
        If there are none.
    """
    sources = bento / _SOURCES
    digest = hashlib.sha256()
    files = sorted(path for path in sources.rglob("*.py") if _MODEL not in path.relative_to(sources).parts[:1])
    if not files:
        raise ArtifactError(f"'{bento}' is not a Bento: it has no code. Build it again.")
    for path in files:
        digest.update(f"{path.relative_to(sources).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()


@contextmanager
def frequent_switches() -> Iterator[None]:
    """Let the event loop interrupt other threads early; for building a model beside it."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
