"""When W&B may be tried again."""

import pytest

from app.services import inference_backoff as module
from app.services.inference_backoff import RunBackoff


@pytest.fixture
def clock(monkeypatch):
    now = [1_000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def wait_of(backoff, clock):
    """Return the seconds until a run may be opened, by whole seconds."""
    start = clock[0]
    while not backoff.due:
        clock[0] += 1
    return clock[0] - start


def test_each_failed_try_doubles_the_pause_up_to_a_minute(clock):
    backoff = RunBackoff()
    assert backoff.due
    waits = []
    for _ in range(8):
        backoff.not_opened()
        waits.append(wait_of(backoff, clock))
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]
    assert backoff.failing
    backoff.opened()
    assert not backoff.failing
    backoff.not_opened()
    assert wait_of(backoff, clock) == 2


def test_runs_that_die_soon_put_the_next_one_off_and_a_long_life_forgives(clock):
    backoff = RunBackoff()
    waits = []
    for _ in range(12):
        backoff.died(since=clock[0] - 1)
        waits.append(wait_of(backoff, clock))
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]
    backoff.died(since=clock[0] - 601)
    assert wait_of(backoff, clock) == 1


def test_a_run_that_did_not_show_its_rows_gets_the_next_one_more_time_until_one_ends_well(clock):
    backoff = RunBackoff()
    seen = []
    for _ in range(6):
        backoff.unconfirmed()
        seen.append(backoff.patience)
    assert seen == [2, 4, 8, 16, 16, 16]
    backoff.died(since=clock[0])
    backoff.ended_well()
    assert backoff.patience == 1
    backoff.died(since=clock[0])
    assert wait_of(backoff, clock) == 1
