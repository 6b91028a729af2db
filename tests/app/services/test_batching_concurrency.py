"""Many callers at once, with real threads and sessions: own answers, nobody starved, no answer changed by others."""

import asyncio
import random
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from app.core.config import EMBEDDED_MODEL_DIR
from app.core.errors import InvalidInputError, PredictionFailedError
from app.services.batching import Batcher
from app.services.predictor import LoadContext, Predictor, load_predictor
from tests.models.support import model_files, settings_for

POISON, REFUSED = 13, -1


class Squares(Predictor):
    """Answers squares; -1 is refused, 13 breaks whatever it is predicted with. Groups are the last digits."""

    Request = BaseModel
    Response = BaseModel

    def __init__(self, batch_cost: int = 1, parallel: int = 1, seconds: float = 0.0) -> None:
        self.batch_cost = batch_cost
        self.parallel = parallel
        self.seconds = seconds
        self.batches: list[list[int]] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()

    @classmethod
    def load(cls, path: Path, context: LoadContext) -> "Squares":
        return cls()

    def prepare(self, items: Sequence[Any]) -> list[Any]:
        if REFUSED in items:
            raise InvalidInputError("refused", list(items).index(REFUSED))
        return list(items)

    def group(self, prepared: Any) -> int:
        return int(prepared % 10)

    def predict(self, batch: Sequence[Any]) -> list[Any]:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            self.batches.append(list(batch))
        try:
            if self.seconds:
                time.sleep(self.seconds)
            if POISON in batch:
                raise RuntimeError("poison")
            return [item * item for item in batch]
        finally:
            with self._lock:
                self._at_once -= 1


@pytest.fixture
def start() -> Iterator[Any]:
    """`start(predictor)` gives a batcher that is stopped at the test's end."""
    made: list[Batcher] = []

    def build(predictor: Predictor) -> Batcher:
        made.append(Batcher(predictor, 1_000_000))
        return made[-1]

    yield build
    for batcher in made:
        assert batcher.stop(10)


def outputs(served: Sequence[Any]) -> list[Any]:
    return [entry.output for entry in served]


@pytest.mark.slow
@pytest.mark.parametrize(("batch_cost", "parallel"), [(1, 2), (32, 1), (32, 3)])
def test_twenty_thousand_callers_get_their_own(start, batch_cost, parallel):
    predictor = Squares(batch_cost, parallel)
    batcher = start(predictor)
    generator = random.Random(batch_cost + parallel)
    seen = {"answered": 0, "refused": 0, "failed": 0, "cancelled": 0}

    async def caller(items: list[int], patience: float | None) -> None:
        task = asyncio.create_task(batcher.run(items))
        if patience is not None:
            await asyncio.sleep(patience)
            task.cancel()
        try:
            assert outputs(await task) == [item * item for item in items]
            assert POISON not in items
            seen["answered"] += 1
        except InvalidInputError as error:
            seen["refused"] += items[error.position or 0] == REFUSED
        except PredictionFailedError:
            assert POISON in items
            seen["failed"] += 1
        except asyncio.CancelledError:
            seen["cancelled"] += 1

    async def scenario() -> None:
        for _ in range(20):
            calls = []
            for _ in range(1000):
                items = [generator.randrange(14, 10_000) for _ in range(generator.choice((1, 1, 1, 2, 9)))]
                if generator.random() < 0.05:
                    items[generator.randrange(len(items))] = generator.choice((POISON, REFUSED))
                patience = generator.random() * 0.02 if generator.random() < 0.1 else None
                calls.append(caller(items, patience))
            await asyncio.gather(*calls)

    asyncio.run(scenario())
    assert sum(seen.values()) == 20_000
    assert min(seen.values()) > 50, seen
    assert batcher.waiting == 0
    assert predictor.most_at_once <= parallel
    assert all(len({item % 10 for item in batch}) == 1 for batch in predictor.batches)
    assert max(map(len, predictor.batches)) > 1 or batch_cost == 1


def test_what_goes_together_is_found_behind_what_does_not(start):
    predictor = Squares(batch_cost=8, seconds=0.05)
    batcher = start(predictor)

    async def scenario() -> list[Any]:
        first = asyncio.create_task(batcher.run([99]))
        await asyncio.sleep(0.02)
        return await asyncio.gather(first, *(batcher.run([item]) for item in (20, 31, 30, 41, 40)))

    assert [outputs(served) for served in asyncio.run(scenario())] == [
        [item * item] for item in (99, 20, 31, 30, 41, 40)
    ]
    assert predictor.batches == [[99], [20, 30, 40], [31, 41]]


def test_as_many_are_predicted_at_once_as_the_predictor_says(start):
    predictor = Squares(parallel=2, seconds=0.03)
    batcher = start(predictor)

    async def scenario() -> None:
        await asyncio.gather(*(batcher.run([item]) for item in range(20, 28)), batcher.run([30, 31, 32]))

    asyncio.run(scenario())
    assert predictor.most_at_once == 2


def test_a_long_list_does_not_keep_a_short_request_waiting(start):
    predictor = Squares(seconds=0.002)
    batcher = start(predictor)

    async def scenario() -> int:
        long = asyncio.create_task(batcher.run(list(range(100, 400))))
        while len(predictor.batches) < 50:
            await asyncio.sleep(0.002)
        before = len(predictor.batches)
        assert outputs(await batcher.run([7])) == [49]
        between = len(predictor.batches) - before
        assert not long.done()
        assert outputs(await long) == [item * item for item in range(100, 400)]
        return between

    # First in, first out would be 250. The moving average of an item's time lags behind, hence not 1.
    assert asyncio.run(scenario()) < 60


def test_short_requests_without_end_do_not_keep_a_long_list_waiting(start):
    predictor = Squares(seconds=0.001)
    batcher = start(predictor)

    async def scenario() -> int:
        await batcher.run([20, 21, 22, 23, 24])
        stop = False

        async def client() -> None:
            while not stop:
                await batcher.run([7])

        clients = [asyncio.create_task(client()) for _ in range(8)]
        await asyncio.sleep(0.02)
        before = len(predictor.batches)
        async with asyncio.timeout(30):
            await batcher.run(list(range(100, 130)))
        stop = True
        await asyncio.gather(*clients)
        return len(predictor.batches) - before

    # Nine share the worker, so the list's 30 items take about 9 times 30 turns if everybody has an equal share.
    assert asyncio.run(scenario()) < 2 * 9 * 30


def test_the_work_of_clients_that_left_is_skipped_and_forgotten(start):
    predictor = Squares(seconds=0.1)
    batcher = start(predictor)

    async def scenario() -> None:
        first = asyncio.create_task(batcher.run([20]))
        await asyncio.sleep(0.03)
        leaving = [asyncio.create_task(batcher.run([item])) for item in range(100, 400)]
        last = asyncio.create_task(batcher.run([21]))
        await asyncio.sleep(0)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        # At once, not when a worker comes by: their place is others' now.
        assert batcher.waiting == 2
        assert [outputs(served) for served in await asyncio.gather(first, last)] == [[400], [441]]

    asyncio.run(scenario())
    assert predictor.batches == [[20], [21]]


def test_a_class_that_fails_at_its_cost_fails_its_request_only(start):
    class Costly(Squares):
        def cost(self, prepared: Any) -> int:
            if prepared == 77:
                raise RuntimeError("no idea")
            return 1

    batcher = start(Costly())

    async def scenario() -> None:
        with pytest.raises(PredictionFailedError):
            await batcher.run([77])
        assert outputs(await batcher.run([5])) == [25]
        assert await batcher.run([]) == []

    asyncio.run(scenario())


def answers(batcher: Batcher, requests: Sequence[list[str]], clients: int) -> tuple[list[list[Any]], int]:
    """Return the confidences that each request got from `clients` at a time, and the largest batch."""
    largest = 0

    async def scenario() -> list[list[Any]]:
        limit = asyncio.Semaphore(clients)

        async def caller(texts: list[str]) -> list[Any]:
            nonlocal largest
            async with limit:
                served = await batcher.run(texts)
            largest = max(largest, *(entry.batch_size for entry in served))
            return [entry.output.confidences for entry in served]

        return await asyncio.gather(*(caller(texts) for texts in requests))

    return asyncio.run(scenario()), largest


def mixed_requests(words: Sequence[str], count: int, longest: int) -> list[list[str]]:
    generator = random.Random(8)
    return [
        [
            " ".join(generator.choices(words, k=generator.randrange(1, longest)))
            for _ in range(generator.choice((1, 1, 1, 4)))
        ]
        for _ in range(count)
    ]


def test_neighbours_do_not_change_a_digit_of_the_embedded_models_answers(start):
    # Its int8 scales come from all rows that are computed together: batched, the answers would differ by up to 0.01.
    words = ("good", "awful", "film", "the", "not", "plot", "wonderful", "boring", "unwatchable", "!")
    predictor = load_predictor(
        model_files(EMBEDDED_MODEL_DIR), settings_for("onnx").model_copy(update={"inference_threads": 2})
    )
    requests = mixed_requests(words, 60, 40)
    alone = [
        [output.confidences for text in texts for output in predictor.predict(predictor.prepare([text]))]
        for texts in requests
    ]
    batcher = start(predictor)
    together, largest = answers(batcher, requests, 32)
    assert together == alone
    assert largest == 1
    assert answers(batcher, requests[::-1], 7)[0] == alone[::-1]


def test_rows_of_a_float_model_are_predicted_together_and_keep_their_digits(start, tmp_path):
    from tests.models.distilbert import NEUTRAL, POSITIVE, tiny_onnx

    predictor = load_predictor(model_files(tiny_onnx(tmp_path)), settings_for("onnx"))
    assert predictor.batch_cost > 1
    requests = mixed_requests([*POSITIVE, *NEUTRAL], 400, 30)
    alone = [
        [output.confidences for text in texts for output in predictor.predict(predictor.prepare([text]))]
        for texts in requests
    ]
    together, largest = answers(start(predictor), requests, 64)
    assert together == alone
    assert largest > 1
