"""The batcher on a real event loop, with a slow function as the model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from polarity.errors import ServiceUnavailable
from polarity.serving.batcher import (
    BatchDispatch,
    Batcher,
    Busy,
    ClientDisconnected,
    Rows,
    TooSlow,
    retry_after,
)


class Model:
    """Returns the length of each text; each batch waits for `gate`, then takes `seconds`."""

    def __init__(self, *, held: bool = False, seconds: float = 0.0) -> None:
        self.batches: list[list[str]] = []
        self.seconds = seconds
        self.gate = asyncio.Event()
        if not held:
            self.gate.set()

    async def __call__(self, texts: list[str]) -> Rows:
        self.batches.append(texts)
        await self.gate.wait()
        await asyncio.sleep(self.seconds)
        if any(text == "poison" for text in texts):
            raise ValueError("poison")
        return [[float(len(text))] for text in texts]


class Log:
    def __init__(self) -> None:
        self.batches: list[BatchDispatch] = []
        self.completed_sizes: list[int] = []
        self.depths: list[int] = []

    def dispatched(self, batch: BatchDispatch) -> None:
        self.batches.append(batch)

    def completed(self, size: int, model_s: float) -> None:
        assert model_s >= 0
        self.completed_sizes.append(size)

    def depth(self, waiting: int) -> None:
        self.depths.append(waiting)


def batcher(model: Model, **options: float | Log) -> Batcher:
    given = {
        "max_batch": 8,
        "max_wait_s": 60.0,
        "max_queue": 10_000,
        "deadline_s": 60.0,
    } | options
    return Batcher(model, **given)  # type: ignore[arg-type]


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(limited())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_single_request_is_dispatched_immediately() -> None:
    async def test() -> None:
        log = Log()
        assert await batcher(Model(), watch=log).predict(["four"]) == [[4.0]]
        assert [(b.reason, b.size, b.waited_s > 0) for b in log.batches] == [("idle", 1, True)]
        assert log.completed_sizes == [1]

    run(test)


def test_concurrent_requests_are_one_call() -> None:
    async def test() -> None:
        model = Model()
        one = batcher(model)
        rows = await asyncio.gather(*(one.predict(["x" * n]) for n in range(1, 6)))
        assert rows == [[[float(n)]] for n in range(1, 6)]
        assert len(model.batches) == 1

    run(test)


def test_next_batch_grows_while_the_model_is_busy() -> None:
    async def test() -> None:
        model, log = Model(held=True), Log()
        one = batcher(model, watch=log)
        first = asyncio.create_task(one.predict(["first"]))
        await until(lambda: len(model.batches) == 1)
        others = []
        for n in range(6):
            others.append(asyncio.create_task(one.predict(["x" * n or "empty"])))
            await asyncio.sleep(0)
        assert len(model.batches) == 1
        model.gate.set()
        await asyncio.gather(first, *others)
        assert [len(batch) for batch in model.batches] == [1, 6]
        assert [b.reason for b in log.batches] == ["idle", "freed"]

    run(test)


def test_batches_respect_their_limit_and_preserve_order() -> None:
    async def test() -> None:
        model, log = Model(), Log()
        one = batcher(model, watch=log)
        texts = ["x" * n for n in range(1, 21)]
        assert await one.predict(texts) == [[float(n)] for n in range(1, 21)]
        assert [len(batch) for batch in model.batches] == [8, 8, 4]
        assert [b.reason for b in log.batches] == ["full", "full", "freed"]
        assert one.waiting == 0

    run(test)


def test_long_request_delays_a_short_one_by_at_most_one_batch() -> None:
    async def test() -> None:
        model = Model(held=True)
        one = batcher(model)
        long = asyncio.create_task(one.predict(["long"] * 100))
        await until(lambda: len(model.batches) == 1)
        short = asyncio.create_task(one.predict(["short"]))
        await asyncio.sleep(0)
        model.gate.set()
        await short
        assert "short" in model.batches[1]
        assert len(model.batches) <= 3
        assert len(await long) == 100

    run(test)


def test_requests_beyond_the_queue_limit_are_refused_immediately() -> None:
    async def test() -> None:
        model = Model(held=True)
        one = batcher(model, max_queue=8)
        taken = [asyncio.create_task(one.predict(["x"]))]
        await until(lambda: len(model.batches) == 1)
        taken += [asyncio.create_task(one.predict(["x"])) for _ in range(8)]
        await asyncio.sleep(0)
        with pytest.raises(Busy) as refused:
            await one.predict(["one too many"])
        assert retry_after(refused.value.retry_after_s) >= 1
        model.gate.set()
        assert len(await asyncio.gather(*taken)) == len(taken)
        assert await one.predict(["again"]) == [[5.0]]

    run(test)


def test_limit_follows_the_speed_of_the_model() -> None:
    async def test() -> None:
        model = Model(seconds=0.05)
        one = batcher(model, max_batch=1, max_wait_s=0.2)
        await one.predict(["how fast is it"])
        answers = await asyncio.gather(*(one.predict(["x"]) for _ in range(40)), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, Busy)]
        answered = [answer for answer in answers if answer == [[1.0]]]
        assert len(refused) + len(answered) == 40
        assert 2 <= len(answered) <= 10
        assert all(error.retry_after_s >= 0.1 for error in refused)

    run(test)


def test_limit_includes_the_servers_work_besides_the_model() -> None:
    async def test() -> None:
        one = batcher(Model(), max_batch=1, max_wait_s=0.2)
        loop = asyncio.get_running_loop()

        def parse_others() -> None:
            time.sleep(0.02)
            loop.call_soon(parse_others)

        loop.call_soon(parse_others)
        await asyncio.gather(*(one.predict(["how fast is it"]) for _ in range(3)))
        answers = await asyncio.gather(*(one.predict(["x"]) for _ in range(100)), return_exceptions=True)
        assert sum(isinstance(answer, Busy) for answer in answers) >= 80

    run(test)


def test_waiting_long_request_does_not_cause_refusals_of_short_ones() -> None:
    async def test() -> None:
        one = batcher(Model(seconds=0.02), max_batch=8, max_wait_s=0.1, deadline_s=2.0)
        await one.predict(["how fast is it"] * 8)
        long = asyncio.create_task(one.predict(["long"] * 400))  # a second of work
        for _ in range(3):
            await asyncio.sleep(0.2)  # longer than a standing queue of short ones is allowed
            assert await one.predict(["short"])
        with pytest.raises(Busy):
            await one.predict(["not before the deadline"] * 1000)
        assert len(await long) == 400

    run(test)


def test_an_answer_that_is_made_in_its_batch_may_be_settled_after_the_deadline() -> None:
    async def scenario() -> None:
        one = batcher(Model(seconds=0.01), deadline_s=0.1)
        waiting: list[asyncio.Future[str]] = []

        def later(rows: Rows, future: asyncio.Future[str]) -> None:
            waiting.append(future)

        def wrong(rows: Rows, future: asyncio.Future[str]) -> None:
            raise ServiceUnavailable("no room")

        request = asyncio.create_task(one.predict(["a"], answer=later))
        with pytest.raises(ServiceUnavailable, match="no room"):
            await one.predict(["b"], answer=wrong)
        await asyncio.sleep(0.3)
        assert not request.done(), "it is computed, and waits for the record"
        waiting[0].set_result("recorded")
        assert await request == "recorded"
        await one.close()

    asyncio.run(scenario())


def test_deadline_fails_waiting_and_running_requests() -> None:
    async def test() -> None:
        model = Model(held=True)
        one = batcher(model, deadline_s=0.1, max_batch=1)
        answers = await asyncio.gather(one.predict(["runs"]), one.predict(["waits"]), return_exceptions=True)
        assert [type(answer) for answer in answers] == [TooSlow, TooSlow]
        model.gate.set()
        model.batches.clear()
        assert await one.predict(["after"]) == [[5.0]]
        assert model.batches == [["after"]], "overdue requests are not computed"

    run(test)


def test_cancelled_request_is_not_computed() -> None:
    async def test() -> None:
        model = Model(held=True)
        one = batcher(model)
        first = asyncio.create_task(one.predict(["first"]))
        await until(lambda: len(model.batches) == 1)
        cancelled = asyncio.create_task(one.predict(["cancelled"]))
        kept = asyncio.create_task(one.predict(["kept"]))
        await asyncio.sleep(0)
        cancelled.cancel()
        model.gate.set()
        await asyncio.gather(first, kept)
        assert model.batches == [["first"], ["kept"]]
        assert one.waiting == 0

    run(test)


def test_request_of_a_disconnected_client_is_not_computed() -> None:
    async def test() -> None:
        model = Model(held=True)
        one = batcher(model)
        left = asyncio.Event()
        first = asyncio.create_task(one.predict(["first"]))
        await until(lambda: len(model.batches) == 1)
        waiting = asyncio.create_task(one.predict(["nobody reads this"], disconnected=left.wait))
        await asyncio.sleep(0.1)
        left.set()
        with pytest.raises(ClientDisconnected):
            await waiting
        model.gate.set()
        await first
        await one.predict(["next"])
        assert model.batches == [["first"], ["next"]]

    run(test)


def test_quick_request_does_not_watch_its_client() -> None:
    async def test() -> None:
        asked = False

        async def disconnected() -> None:
            nonlocal asked
            asked = True

        await batcher(Model()).predict(["x"], disconnected=disconnected)
        await asyncio.sleep(0.15)
        assert not asked

    run(test)


def test_text_that_fails_the_model_affects_no_other() -> None:
    async def test() -> None:
        one = batcher(Model())
        answers = await asyncio.gather(
            *(one.predict([text]) for text in ("a", "poison", "bc")),
            return_exceptions=True,
        )
        assert answers[0] == [[1.0]] and answers[2] == [[2.0]]
        assert isinstance(answers[1], ValueError)
        assert await one.predict(["still there"]) == [[11.0]]

    run(test)


def test_unavailable_model_fails_all_requests_and_recovers() -> None:
    async def test() -> None:
        away = True

        async def model(texts: list[str]) -> Rows:
            if away:
                raise ServiceUnavailable("The runner is unavailable.")
            return [[0.0] for _ in texts]

        one = Batcher(model, max_batch=8, max_wait_s=1, max_queue=100, deadline_s=5)
        answers = await asyncio.gather(*(one.predict(["x"]) for _ in range(3)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [ServiceUnavailable] * 3
        away = False
        assert await one.predict(["x"]) == [[0.0]]

    run(test)


def test_two_lanes_run_two_batches_concurrently() -> None:
    async def test() -> None:
        model = Model(held=True)
        one = Batcher(model, max_batch=4, max_wait_s=60, max_queue=100, deadline_s=60, lanes=2)
        asked = [asyncio.create_task(one.predict(["x"])) for _ in range(8)]
        await until(lambda: len(model.batches) == 2)
        assert [len(batch) for batch in model.batches] == [4, 4]
        model.gate.set()
        await asyncio.gather(*asked)

    run(test)


def test_close_completes_accepted_requests() -> None:
    async def test() -> None:
        model = Model(seconds=0.01)
        one = batcher(model)
        taken = [asyncio.create_task(one.predict(["x"] * 10)) for _ in range(5)]
        await asyncio.sleep(0)
        await one.close()
        assert [len(rows) for rows in await asyncio.gather(*taken)] == [10] * 5
        with pytest.raises(ServiceUnavailable):
            await one.predict(["too late"])

    run(test)


def test_empty_request_does_not_call_the_model() -> None:
    async def test() -> None:
        model = Model()
        assert await batcher(model).predict([]) == []
        assert model.batches == []

    run(test)


def test_every_request_gets_its_own_answer_under_random_load() -> None:
    async def test() -> None:
        one = batcher(Model(seconds=0.001))

        async def ask(texts: Sequence[str]) -> None:
            assert await one.predict(texts) == [[float(len(text))] for text in texts]

        sizes = [(7 * n) % 23 + 1 for n in range(300)]
        await asyncio.gather(*(ask(["x" * (size + n % 5) for n in range(size)]) for size in sizes))
        assert one.waiting == 0

    run(test)


def test_burst_may_wait_but_a_standing_queue_may_not() -> None:
    async def test() -> None:
        one = batcher(Model(seconds=0.005), max_batch=4, max_wait_s=0.5, queue_room=8)
        await asyncio.gather(*(one.predict(["how fast is it"]) for _ in range(16)))
        burst = await asyncio.gather(*(one.predict(["x"]) for _ in range(100)), return_exceptions=True)
        assert not any(isinstance(answer, Busy) for answer in burst), "0.13 s of work and nothing after it"

        asked: list[asyncio.Task[Any]] = []
        until = time.perf_counter() + 0.6
        while time.perf_counter() < until:  # three times the model's capacity
            asked += [asyncio.create_task(one.predict(["x"])) for _ in range(12)]
            await asyncio.sleep(0.005)
        waited, refused = one.waiting, [task for task in asked if task.done() and task.exception()]
        assert waited <= 8
        assert refused and all(isinstance(task.exception(), Busy) for task in refused)
        await asyncio.gather(*asked, return_exceptions=True)
        await asyncio.sleep(0.7)
        assert one.retry_delay_s() is None
        calm = await asyncio.gather(*(one.predict(["x"]) for _ in range(40)), return_exceptions=True)
        assert not any(isinstance(answer, Busy) for answer in calm), "bursts are accepted again"

    run(test)


@pytest.mark.parametrize("stalled", [False, True])
def test_queue_of_a_fast_model_stands_sooner_unless_the_machine_stalled(stalled: bool) -> None:
    async def refused() -> bool:
        one = batcher(Model(seconds=0.002), max_batch=8, max_wait_s=0.5, queue_room=8)
        await asyncio.gather(*(one.predict(["how fast is it"]) for _ in range(64)))
        if stalled:
            waiting = asyncio.create_task(one.predict(["x"]))
            await asyncio.sleep(0.0005)
            time.sleep(0.2)
            await waiting
            await asyncio.sleep(0.01)
        asked: list[asyncio.Task[Any]] = []
        until = time.perf_counter() + 0.1
        while time.perf_counter() < until:  # three times the model's capacity
            asked += [asyncio.create_task(one.predict(["x"])) for _ in range(24)]
            await asyncio.sleep(0.002)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        return any(isinstance(answer, Busy) for answer in answers)

    # This machine may stall, too.
    assert any(asyncio.run(refused()) is not stalled for _ in range(3))


def test_overload_ends_at_half_load_although_a_part_of_the_room_is_often_full() -> None:
    async def test() -> None:
        # A batch takes as long for one text as for eight: with a quarter of the room, half of the load is too much.
        one = batcher(Model(seconds=0.004), max_batch=8, max_wait_s=0.5, queue_room=8)
        await asyncio.gather(*(one.predict(["how fast is it"]) for _ in range(64)))
        refused_at = 0.0

        async def ask(text: str) -> None:
            nonlocal refused_at
            try:
                await one.predict([text])
            except Busy:
                refused_at = time.perf_counter()

        async with asyncio.TaskGroup() as asked:
            until = time.perf_counter() + 0.4
            while time.perf_counter() < until:
                for _ in range(32):
                    asked.create_task(ask("x"))
                await asyncio.sleep(0.004)
            assert refused_at > until - 0.1, "overload"
            refused_at = until = time.perf_counter()
            while time.perf_counter() < min(until + 15, refused_at + 1):
                for _ in range(4):
                    asked.create_task(ask("x"))
                await asyncio.sleep(0.004)
            assert time.perf_counter() >= refused_at + 1, "a second without a refusal, within fifteen"

    run(test)


def test_backlog_of_a_stall_is_processed_without_refusals() -> None:
    async def test() -> None:
        one = batcher(Model(seconds=0.005), max_batch=4, max_wait_s=0.5, queue_room=8)
        await asyncio.gather(*(one.predict(["how fast is it"]) for _ in range(16)))
        # a fifth of a second of work at once, then half of the model's capacity
        asked = [asyncio.create_task(one.predict(["late"])) for _ in range(160)]
        until = time.perf_counter() + 0.6
        while time.perf_counter() < until:
            asked += [asyncio.create_task(one.predict(["x"])) for _ in range(4)]
            await asyncio.sleep(0.012)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert not any(isinstance(answer, Busy) for answer in answers)

    run(test)


def test_stalled_machine_is_not_mistaken_for_a_slow_model() -> None:
    async def test() -> None:
        model = Model(seconds=0.002)
        one = batcher(model, max_batch=8, max_wait_s=0.5, queue_room=8)
        for _ in range(20):
            await one.predict(["how fast is it"])
        # nothing runs for a third of a second, then everything that arrived meanwhile is read
        stalled = asyncio.create_task(one.predict(["x"]))
        await asyncio.sleep(0.001)
        time.sleep(0.35)
        await stalled
        asked: list[asyncio.Task[Any]] = []
        until = time.perf_counter() + 0.4
        while time.perf_counter() < until:
            asked += [asyncio.create_task(one.predict(["late"])) for _ in range(100 if len(asked) < 400 else 4)]
            await asyncio.sleep(0.004)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert not any(isinstance(answer, Busy) for answer in answers)

    run(test)


def test_long_texts_fill_a_batch_by_their_characters() -> None:
    async def test() -> None:
        model = Model(held=True)
        batching = batcher(model, max_characters=10)
        first = asyncio.create_task(batching.predict(["x"]))
        await until(lambda: bool(model.batches))
        longs = asyncio.create_task(batching.predict(["a" * 6, "b" * 4, "c" * 30, "d" * 11]))
        short = asyncio.create_task(batching.predict(["ee"]))
        await asyncio.sleep(0)
        model.gate.set()
        assert await longs == [[6.0], [4.0], [30.0], [11.0]]
        assert (await first, await short) == ([[1.0]], [[2.0]])
        assert all(len("".join(batch)) <= 10 or len(batch) == 1 for batch in model.batches)
        assert sum(len(batch) for batch in model.batches) == 6
        assert next(batch for batch in model.batches if "ee" in batch) in model.batches[1:3], "it waits for one batch"

    run(test)


def test_short_texts_do_not_wait_for_many_requests_with_long_ones() -> None:
    async def test() -> None:
        model = Model(held=True)
        batching = batcher(model, max_characters=40)
        first = asyncio.create_task(batching.predict(["x"]))
        await until(lambda: bool(model.batches))
        long = [asyncio.create_task(batching.predict([letter * 20] * 3)) for letter in "abcde"]
        short = asyncio.create_task(batching.predict(["ee"]))
        await asyncio.sleep(0)
        model.gate.set()
        assert await first == [[1.0]] and await short == [[2.0]]
        assert await asyncio.gather(*long) == [[[20.0]] * 3] * 5
        assert next(number for number, batch in enumerate(model.batches) if "ee" in batch) == 1
        # Each in turn: nobody's long texts wait for all of another's.
        order = [batch[0][0] for batch in model.batches[1:]]
        assert order[:5] == list("abcde") and sum(len(batch) for batch in model.batches) == 17

    run(test)


def test_what_is_no_text_fails_alone() -> None:
    async def test() -> None:
        batching = batcher(Model(), max_characters=40)
        nothing: Any = None
        alone = asyncio.create_task(batching.predict([nothing]))
        beside = asyncio.create_task(batching.predict(["ee"]))
        assert await beside == [[2.0]]
        with pytest.raises(TypeError):
            await alone

    run(test)
