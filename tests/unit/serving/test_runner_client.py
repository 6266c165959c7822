"""The runner client against a socket that, like BentoML's, stays open when the runner dies."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from polarity.errors import ServiceUnavailable
from polarity.serving.batcher import Rows
from polarity.serving.runner_client import Call, RemoteModel, RunnerClient, RunnerLost, State


class Supervisor:
    """Holds the listening socket; `start` and `kill` control the server that answers on it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "runner.sock"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen()
        self.state = b'{"trouble": null, "precision": "fp32", "device": "cpu"}'
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def start(self, *, end: bytes = b"{}") -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._writers.append(writer)
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while await reader.readuntil(end):
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(self.state), self.state))

        self._server = await asyncio.start_unix_server(answer, sock=self.listener.dup())

    async def kill(self) -> None:
        assert self._server
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(limited())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def rows(method: str, texts: list[str]) -> Rows:
    return [[float(len(text)), 0.0] for text in texts]


def model(supervisor: Supervisor, call: Call = rows, **more: Any) -> RemoteModel:
    return RemoteModel(supervisor.path.as_uri(), call, **more)


def test_runner_is_tracked_as_it_starts_dies_and_restarts(tmp_path: Path) -> None:
    async def test() -> None:
        supervisor = Supervisor(tmp_path)
        states: list[State] = []
        remote = model(supervisor, changed=states.append)
        with pytest.raises(ServiceUnavailable, match="starting"):
            await remote.run(["too early"])
        await supervisor.start()
        await until(lambda: remote.problem is None)
        assert await remote.run(["abc", "d"]) == [[3.0, 0.0], [1.0, 0.0]]
        await supervisor.kill()
        await until(lambda: remote.problem is not None)
        with pytest.raises(ServiceUnavailable, match="gone"):
            await remote.run(["nobody there"])
        await supervisor.start()
        await until(lambda: remote.problem is None)
        assert await remote.run(["back"]) == [[4.0, 0.0]]
        assert [bool(state.problem) for state in states] == [False, True, False]
        await remote.close()
        await supervisor.kill()

    run(test)


def test_calls_in_flight_fail_when_the_runner_dies(tmp_path: Path) -> None:
    async def test() -> None:
        supervisor = Supervisor(tmp_path)

        async def never(method: str, texts: list[str]) -> Rows:
            await asyncio.Event().wait()
            return []

        remote = model(supervisor, never)
        await supervisor.start()
        await until(lambda: remote.problem is None)
        waiting = asyncio.create_task(remote.run(["on its way"]))
        await asyncio.sleep(0)
        await supervisor.kill()
        with pytest.raises(ServiceUnavailable, match="gone"):
            await waiting
        await remote.close()

    run(test)


def test_failed_call_reports_the_runner_as_gone(tmp_path: Path) -> None:
    async def test() -> None:
        supervisor = Supervisor(tmp_path)

        async def broken(method: str, texts: list[str]) -> Rows:
            raise RunnerLost("The connection broke.")

        remote = model(supervisor, broken)
        await supervisor.start()
        await until(lambda: remote.problem is None)
        with pytest.raises(ServiceUnavailable):
            await remote.run(["on its way"])
        assert remote.problem is not None and "gone" in remote.problem, "immediately, not at the next heartbeat"
        await until(lambda: remote.problem is None)  # it was only that connection
        await remote.close()
        await supervisor.kill()

    run(test)


def test_runner_that_is_not_ready_reports_why(tmp_path: Path) -> None:
    async def test() -> None:
        supervisor = Supervisor(tmp_path)
        supervisor.state = b'{"trouble": "no GPU here", "precision": "", "device": "gpu 0"}'
        remote = model(supervisor)
        await supervisor.start()
        await until(lambda: remote.problem == "no GPU here")
        with pytest.raises(ServiceUnavailable, match="no GPU here"):
            await remote.run(["x"])
        await remote.close()
        await supervisor.kill()

    run(test)


def test_broken_call_raises_runner_lost(tmp_path: Path) -> None:
    async def test() -> None:
        supervisor = Supervisor(tmp_path)
        client = RunnerClient(supervisor.path.as_uri(), timeout_s=10)
        supervisor.state = b"[[0.25, 0.75]]"
        await supervisor.start(end=b"}")
        assert await client("predict", ["x"]) == [[0.25, 0.75]]
        await supervisor.kill()
        supervisor.listener.close()
        supervisor.path.unlink()
        with pytest.raises(RunnerLost, match="does not answer"):
            await client("predict", ["x"])
        await client.close()

    run(test)
