"""What a caller sees of the worker: own answers, in order, whatever the others send."""

import asyncio
import random
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import BaseModel

from app.core.errors import InvalidInputError, NotReadyError, OverloadedError, PredictionFailedError
from app.services.batching import Batcher
from app.services.predictor import LoadContext, Predictor


class Doubler(Predictor):
    """Answers twice the number; refuses negative ones; 13 breaks it, whoever it comes with."""

    Request = BaseModel
    Response = BaseModel

    def __init__(self, batch_cost: int = 1) -> None:
        self.batch_cost = batch_cost
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    @classmethod
    def load(cls, path, context: LoadContext) -> "Doubler":
        return cls()

    def prepare(self, items: Sequence[Any]) -> list[Any]:
        for position, item in enumerate(items):
            if item < 0:
                raise InvalidInputError("negative", position)
        return list(items)

    def predict(self, batch: Sequence[Any]) -> list[Any]:
        self.batches.append(list(batch))
        self.entered.set()
        assert self.gate.wait(10)
        if 13 in batch:
            raise RuntimeError("secret internals")
        return [2 * item for item in batch]


@pytest.fixture
def make():
    made: list[tuple[Batcher, Doubler]] = []

    def build(batch_cost: int = 1, max_waiting: int = 1000) -> tuple[Batcher, Doubler]:
        doubler = Doubler(batch_cost)
        made.append((Batcher(doubler, max_waiting), doubler))
        return made[-1]

    yield build
    for batcher, doubler in made:
        doubler.gate.set()
        batcher.stop(5)


async def until(condition) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("never happened")


def outputs(served) -> list[Any]:
    return [entry.output for entry in served]


def test_items_are_answered_in_order(make):
    batcher, _ = make()
    served = asyncio.run(batcher.run([3, 1, 2]))
    assert outputs(served) == [6, 2, 4]
    assert [entry.item for entry in served] == [3, 1, 2]
    assert all(entry.queue_ms >= 0 and entry.inference_ms >= 0 and entry.batch_size == 1 for entry in served)


def test_what_waits_is_predicted_together_up_to_the_budget(make):
    batcher, doubler = make(batch_cost=4)

    async def scenario() -> None:
        doubler.gate.clear()
        first = asyncio.create_task(batcher.run([1]))
        await until(doubler.entered.is_set)
        rest = [asyncio.create_task(batcher.run([number])) for number in range(2, 8)]
        await until(lambda: batcher.waiting == 7)
        doubler.gate.set()
        await asyncio.gather(first, *rest)

    asyncio.run(scenario())
    assert doubler.batches == [[1], [2, 3, 4, 5], [6, 7]]


def test_nobody_waits_for_a_batch_to_fill(make):
    batcher, doubler = make(batch_cost=100)
    assert outputs(asyncio.run(batcher.run([5]))) == [10]
    assert doubler.batches == [[5]]


def test_an_item_that_breaks_the_model_fails_alone(make):
    batcher, doubler = make(batch_cost=10)

    async def scenario() -> list[Any]:
        doubler.gate.clear()
        first = asyncio.create_task(batcher.run([1]))
        await until(doubler.entered.is_set)
        rest = [asyncio.create_task(batcher.run([number])) for number in (2, 13, 4)]
        await until(lambda: batcher.waiting == 4)
        doubler.gate.set()
        return await asyncio.gather(first, *rest, return_exceptions=True)

    one, two, poison, four = asyncio.run(scenario())
    assert [outputs(served) for served in (one, two, four)] == [[2], [4], [8]]
    assert isinstance(poison, PredictionFailedError)
    assert "secret" not in str(poison)


def test_a_failure_in_a_list_says_which_item(make):
    batcher, _ = make()
    with pytest.raises(PredictionFailedError, match="item 1"):
        asyncio.run(batcher.run([1, 13, 2]))
    assert batcher.waiting == 0


def test_a_refused_item_refuses_its_request_only(make):
    batcher, doubler = make(batch_cost=10)

    async def scenario() -> list[Any]:
        doubler.gate.clear()
        first = asyncio.create_task(batcher.run([1]))
        await until(doubler.entered.is_set)
        rest = [asyncio.create_task(batcher.run(items)) for items in ([2], [3, -1], [4])]
        await until(lambda: batcher.waiting == 5)
        doubler.gate.set()
        return await asyncio.gather(first, *rest, return_exceptions=True)

    _, two, refused, four = asyncio.run(scenario())
    assert (outputs(two), outputs(four)) == ([4], [8])
    assert isinstance(refused, InvalidInputError)
    assert refused.position == 1


def test_too_much_waiting_is_refused_at_once_with_a_time_to_come_back(make):
    batcher, doubler = make(max_waiting=3)

    async def scenario() -> None:
        doubler.gate.clear()
        first = asyncio.create_task(batcher.run([1]))
        await until(doubler.entered.is_set)
        second = asyncio.create_task(batcher.run([2, 3]))
        await until(lambda: batcher.waiting == 3)
        with pytest.raises(OverloadedError, match="at most 3") as refused:
            await batcher.run([4])
        assert 1 <= refused.value.retry_after <= 60
        doubler.gate.set()
        await asyncio.gather(first, second)

    asyncio.run(scenario())
    assert batcher.waiting == 0


def test_too_many_characters_waiting_are_refused_and_one_large_request_never_is(make):
    class Lengths(Doubler):
        def prepare(self, items):
            return list(items)

        def predict(self, batch):
            self.gate.wait(20)
            self.entered.set()
            return [len(item) for item in batch]

    lengths = Lengths()
    batcher = Batcher(lengths, 100, 50)

    async def scenario() -> None:
        lengths.gate.clear()
        first = asyncio.create_task(batcher.run(["x" * 80]))
        await until(lambda: batcher.waiting == 1)
        with pytest.raises(OverloadedError, match="80 characters are waiting and at most 50 may"):
            await batcher.run(["y"])
        lengths.gate.set()
        await first
        assert outputs(await batcher.run(["z"] * 50)) == [1] * 50

    try:
        asyncio.run(scenario())
    finally:
        batcher.stop(5)


def test_work_that_was_given_up_is_skipped(make):
    batcher, doubler = make()

    async def scenario() -> None:
        doubler.gate.clear()
        first = asyncio.create_task(batcher.run([1]))
        await until(doubler.entered.is_set)
        given_up = asyncio.create_task(batcher.run([2, 3]))
        last = asyncio.create_task(batcher.run([4]))
        await until(lambda: batcher.waiting == 4)
        given_up.cancel()
        await asyncio.sleep(0)
        doubler.gate.set()
        await asyncio.gather(first, last)

    asyncio.run(scenario())
    assert doubler.batches == [[1], [4]]
    assert batcher.waiting == 0


def test_stop_answers_what_waits_and_refuses_the_rest(make):
    batcher, doubler = make()

    async def scenario() -> list[Any]:
        doubler.gate.clear()
        tasks = [asyncio.create_task(batcher.run([number])) for number in (1, 2)]
        await until(lambda: batcher.waiting == 2)
        stopping = asyncio.create_task(asyncio.to_thread(batcher.stop, 10))
        await asyncio.sleep(0.05)
        with pytest.raises(NotReadyError):
            await batcher.run([3])
        doubler.gate.set()
        assert await stopping
        return await asyncio.gather(*tasks)

    assert [outputs(served) for served in asyncio.run(scenario())] == [[2], [4]]


def test_stop_does_not_wait_for_ever_and_tells_the_callers(make):
    batcher, doubler = make()

    async def scenario() -> list[Any]:
        doubler.gate.clear()
        tasks = [asyncio.create_task(batcher.run([number])) for number in (1, 2)]
        await until(lambda: batcher.waiting == 2)
        assert not await asyncio.to_thread(batcher.stop, 0.05)
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert all(isinstance(result, NotReadyError) for result in asyncio.run(scenario()))


@pytest.mark.parametrize("batch_cost", [1, 7, 100])
def test_each_of_many_callers_gets_their_own(make, batch_cost):
    batcher, _ = make(batch_cost=batch_cost, max_waiting=100_000)
    generator = random.Random(3)

    async def caller() -> None:
        items = [
            generator.choice([generator.randrange(14, 10_000), 13, -1])
            if generator.random() < 0.05
            else generator.randrange(14, 10_000)
            for _ in range(generator.randrange(1, 6))
        ]
        task = asyncio.create_task(batcher.run(items))
        if generator.random() < 0.1:
            await asyncio.sleep(0)
            task.cancel()
        try:
            assert outputs(await task) == [2 * item for item in items]
            assert 13 not in items
            assert -1 not in items
        except InvalidInputError:
            assert -1 in items
        except PredictionFailedError:
            assert 13 in items
        except asyncio.CancelledError:
            pass

    async def scenario() -> None:
        await asyncio.gather(*(caller() for _ in range(2000)))

    asyncio.run(scenario())
    assert asyncio.run(batcher.run([21]))[0].output == 42
    assert batcher.waiting == 0
