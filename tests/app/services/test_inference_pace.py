"""How many rows history may carry: never too many in any minute, and spread out when there are more."""

import random

from app.services.inference_pace import HistoryPace, evenly


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_no_minute_ever_has_more_than_allowed() -> None:
    clock, generator = Clock(), random.Random(3)
    pace = HistoryPace(900, clock)
    written: list[tuple[float, int]] = []
    for _ in range(5_000):
        clock.now += generator.expovariate(5)
        rows = generator.randrange(60)
        count = rows if rows <= pace.allowance() else pace.share(rows)
        pace.spend(count)
        written.append((clock.now, count))
    for since, _ in written[::50]:
        assert sum(count for when, count in written if since <= when < since + 59.9) <= 900


def test_what_is_allowed_is_spread_over_the_minute() -> None:
    clock = Clock()
    pace = HistoryPace(600, clock)
    shares = []
    for _ in range(120):
        clock.now += 1
        shares.append(pace.share(300))
        pace.spend(shares[-1])
    assert set(shares[1:]) <= {9, 10}


def test_a_share_is_taken_at_even_distances() -> None:
    rows = [b"%d" % number for number in range(100)]
    assert evenly(rows, 4) == [b"0", b"25", b"50", b"75"]
    assert evenly(rows, 0) == []
