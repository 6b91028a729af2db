"""Random bytes for ids."""

import os
from concurrent.futures import ThreadPoolExecutor

from app.core.unique import unique_bytes


def test_no_two_are_alike_whoever_asks():
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda _: unique_bytes(12), range(20_000)))
    assert len(set(drawn)) == 20_000
    assert {len(value) for value in drawn} == {12}


def test_more_than_is_drawn_at_once_can_be_had():
    assert len(unique_bytes(10_000)) == 10_000


def test_a_forked_process_gets_others():
    unique_bytes(1)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, unique_bytes(16))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 16) != unique_bytes(16)
    os.close(reader)
    os.close(writer)
