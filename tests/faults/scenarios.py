"""The faults. Each is tried with W&B's real client; times are shortened by settings, never the fault itself."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from unittest import mock

from app.services import spool_segments, wandb_run
from tests.faults.bench import Bench, bench, kill
from tests.faults.outcome import Outcome, until

Scenario = Callable[[Bench], Outcome]
SCENARIOS: dict[str, Scenario] = {}
_AT_ONCE = 6


def fault(name: str) -> Callable[[Scenario], Scenario]:
    def add(scenario: Scenario) -> Scenario:
        SCENARIOS[name] = scenario
        return scenario

    return add


@fault("none")
def nothing(at: Bench) -> Outcome:
    log = at.log()
    at.record(log, 100)
    at.confirmed(log)
    at.stop(log)
    return at.outcome("one run, one row an inference")


@fault("W&B down from the start")
def down_from_the_start(at: Bench) -> Outcome:
    at.wandb.stop()
    log = at.log(inference_log_start_seconds=1)
    at.record(log, 100)
    until(lambda: log.health()["state"] == "degraded")
    at.record(log, 100)
    at.wandb.start()
    at.confirmed(log)
    at.stop(log)
    return at.outcome("kept in the spool; a run was opened when W&B answered")


@fault("W&B down for a while (15 s for ten minutes)")
def down_for_a_while(at: Bench) -> Outcome:
    log = at.log()
    at.record(log, 50)
    at.confirmed(log)
    at.wandb.stop()
    end = time.monotonic() + 15
    while time.monotonic() < end:
        at.record(log, 5)
        time.sleep(0.5)
    at.wandb.start()
    at.record(log, 50)
    at.confirmed(log)
    at.stop(log)
    return at.outcome("the client went on where it was")


def _stream_error(status: int, times: int | None, remark: str) -> Scenario:
    def scenario(at: Bench) -> Outcome:
        fault = at.wandb.set_fault("file_stream", status=status, times=times)
        log = at.log()
        at.record(log, 100)
        until(lambda: fault.hits)
        at.record(log, 20)
        if times is None:
            at.wandb.clear_faults()
        at.confirmed(log)
        at.stop(log)
        return at.outcome(remark)

    return scenario


for _status in (429, 500):
    fault(f"W&B answers {_status}")(_stream_error(_status, 3, "the client tried again"))
for _status in (401, 404, 409, 410):
    fault(f"the stream is refused ({_status})")(
        _stream_error(_status, None, "the client sends no more and says nothing; a new run got the rows")
    )


@fault("W&B hangs")
def hangs(at: Bench) -> Outcome:
    fault = at.wandb.set_fault("file_stream", hang=True)
    log = at.log()
    at.record(log, 100)
    until(lambda: fault.hits)
    at.record(log, 50)
    time.sleep(3)
    at.wandb.clear_faults()
    at.confirmed(log)
    at.stop(log)
    return at.outcome("rows waited in the spool")


@fault("W&B hangs, and SIGTERM")
def hangs_at_the_end(at: Bench) -> Outcome:
    at.wandb.set_fault("file_stream", hang=True)
    log = at.log()
    at.record(log, 100)
    until(lambda: log.health()["in_flight"])
    started = time.monotonic()
    at.stop(log, 8)
    seconds = time.monotonic() - started
    assert seconds < 9, f"the end took {seconds} s"
    at.wandb.clear_faults()
    at.next_start(at.left())
    return at.outcome("ended within 8 s; the next start sent the rows")


@fault("wandb-core killed")
def core_killed(at: Bench) -> Outcome:
    log = at.log()
    at.record(log, 50)
    until(lambda: log.health()["in_flight"] or log.health()["confirmed"])
    at.core_of(log).kill()
    at.record(log, 50)
    at.confirmed(log)
    at.stop(log)
    return at.outcome("a new run got what the first lacked")


@fault("wandb-core stalled")
def core_stalled(at: Bench) -> Outcome:
    log = at.log()
    at.record(log, 50)
    until(lambda: log.health()["in_flight"] or log.health()["confirmed"])
    at.core_of(log).suspend()
    at.record(log, 700)
    at.confirmed(log)
    at.stop(log)
    return at.outcome("the client was ended; a new run got what the first lacked")


@fault('"Stop run" pressed')
def stop_pressed(at: Bench) -> Outcome:
    log = at.log()
    at.record(log, 50)
    until(at.wandb.runs)
    at.wandb.stop_run(at.wandb.runs()[0].path)
    until(lambda: at.wandb.runs()[0].state == "finished")
    at.record(log, 50)
    at.confirmed(log)
    at.stop(log)
    return at.outcome("that run was finished; the next row opened another one")


@fault("the server killed (kill -9)")
def server_killed(at: Bench) -> Outcome:
    with at.server("one", INFERENCE_LOG_CONFIRM_SECONDS="60") as server:
        server.wait_until_ready()
        at.predict(server, 40)
        kill(server)
    at.next_start(at.left())
    return at.outcome("real server; the next start sent what was in the spool")


@fault("two workers on one folder, one killed")
def two_workers(at: Bench) -> Outcome:
    # The second one only waits: its spool is locked, and nobody else sends it.
    with at.server("one") as one, at.server("two") as two:
        one.wait_until_ready()
        two.wait_until_ready()
        for _ in range(10):
            at.predict(one, 2)
            at.predict(two, 2)
        kill(one)
        at.predict(two, 10)
        assert two.terminate() == 0, two.output
    left = at.left()
    if left:
        at.next_start(left)
    return at.outcome("real servers; a spool and a run each")


@fault("the CPU frozen after the reply, then killed")
def frozen(at: Bench) -> Outcome:
    with at.server("one", INFERENCE_LOG_WAIT_SECONDS="30") as server:
        server.wait_until_ready()
        at.predict(server, 1)
        server.process.send_signal(signal.SIGSTOP)
        kill(server)
    shutil.rmtree(at.state)
    return at.outcome("real server, INFERENCE_LOG_WAIT_SECONDS; its disk is gone too")


@fault("the disk full")
def disk_full(at: Bench) -> Outcome:
    with _small_disk(at.state) as how:
        log = at.log(inference_log_queue=300)
        at.wandb.set_fault("graphql", operation="UpsertBucket", status=500)
        at.record(log, 1_000, text="a good film, " * 40)
        until(lambda: log.health()["spool"]["in_memory"] == 300)
        at.wandb.clear_faults()
        at.confirmed(log)
        at.stop(log)
    return at.outcome(f"{how}; what the memory did not hold either was dropped")


@fault("a folder that cannot be written")
def read_only(at: Bench) -> Outcome:
    at.state.touch()
    log = at.log(state_dir=at.state / "state")
    at.record(log, 100)
    at.confirmed(log)
    at.stop(log)
    return at.outcome("rows were kept in memory, the client in a temporary folder")


@fault("the spool full")
def spool_full(at: Bench) -> Outcome:
    at.wandb.stop()
    log = at.log(inference_log_spool_mb=1, log_text_characters=5_000)
    at.record(log, 500, text="a good film, " * 400)
    at.wandb.start()
    at.confirmed(log)
    at.stop(log)
    return at.outcome("a limit of 1 MB; the newest rows were dropped")


@fault("more than history carries")
def many(at: Bench) -> Outcome:
    log = at.log(inference_log_rows_per_minute=100)
    for _ in range(5):
        at.record(log, 500)
        time.sleep(0.3)
    at.confirmed(log)
    at.stop(log)
    rows = sum(len(run.rows) for run in at.wandb.runs())
    assert rows <= 100, f"history has {rows} rows"
    return at.outcome("compressed files; a limit of 100 rows of history a minute was kept")


@fault("a file refused (403), above what history carries")
def files_refused(at: Bench) -> Outcome:
    at.wandb.set_fault("graphql", operation="CreateArtifact", status=403, times=1)
    log = at.log(inference_log_rows_per_minute=10)
    at.record(log, 500)
    at.confirmed(log)
    at.stop(log)
    return at.outcome("a new run got them")


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[str]:
    """A file system of 256 KiB at `folder`; where none may be mounted, writes that fail as they would there."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if (
        os.geteuid() == 0
        and shutil.which("mount")
        and not subprocess.run(mount, capture_output=True).returncode
    ):
        try:
            yield "a file system of 256 KiB"
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        return
    append = spool_segments.FileSegment.append

    def refuse(segment: spool_segments.FileSegment, line: bytes) -> None:
        if segment.rows >= 100 and segment.path.is_relative_to(folder):
            raise OSError(28, "No space left on device")
        append(segment, line)

    with mock.patch.object(spool_segments.FileSegment, "append", refuse):
        yield "writes that fail with ENOSPC"


def run(name: str) -> Outcome:
    """Try one fault, on a bench of its own."""
    with bench() as made:
        started = time.monotonic()
        found = SCENARIOS[name](made)
        found.seconds = time.monotonic() - started
    return found


@contextlib.contextmanager
def run_all(names: Iterable[str]) -> Iterator[dict[str, Future[Outcome]]]:
    """Try faults, several at once, since most of their time is waiting; gives the outcomes to come."""
    # A client that stalls is given up sooner than in a deployed server.
    with mock.patch.object(wandb_run, "_WRITE_SECONDS", 10), ThreadPoolExecutor(_AT_ONCE) as pool:
        yield {name: pool.submit(run, name) for name in names}
