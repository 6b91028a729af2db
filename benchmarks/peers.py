"""The same model file, texts, engine and threads in other model servers, each with and without its own batching.

Each peer has an environment of its own, which this installs under the cache (`.benchmarks/peers/NAME`), and is started
anew for every run; rounds of all servers follow one another, so that a busy moment of the machine meets all. Texts are
cut at 510 tokens, since windows are Marquee's own. A peer that can't be installed or started is in the table with the
reason.
"""

import argparse
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import models, texts
from benchmarks.load import Load, closed_loop, open_loop, post
from benchmarks.peer_list import ENGINE, PEERS, Peer
from benchmarks.report import add_json, finish, machine, progress, ratio
from benchmarks.serve import server
from benchmarks.wrk import WRK, closed_loop_by_wrk

APPS = Path(__file__).parent / "peer_apps"
_LONGEST = 510
_START_SECONDS = 120
_INSTALL_SECONDS = 1800
_WARM = 32
_LARGEST_DIFFERENCE = 0.1
"""Of a probability: what int8 moves in a padded batch, at most. More means that something else was answered."""


@dataclass
class Entry:
    """One server in one setting, and what was measured of it: loads by number of clients, 0 for the open loop."""

    name: str
    peer: Peer | None = None
    batching: bool = False
    loads: dict[int, Load] = field(default_factory=dict)
    missing: str = ""
    processes: int = 1

    @property
    def label(self) -> str:
        """What the table calls it."""
        label = f"{self.name}, {self.processes} processes" if self.processes > 1 else self.name
        batches = self.peer.batches if self.peer and self.batching else ""
        return f"{label}, batches {batches}" if batches else label


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    texts.add_arguments(parser)
    names = [peer.name for peer in PEERS]
    parser.add_argument("--model", choices=models.MODELS, default="embedded")
    parser.add_argument("--peers", nargs="*", choices=names, default=names, help="all by default")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--seconds", type=float, default=10, help="of one run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=128)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--processes",
        type=int,
        nargs="+",
        default=[1],
        help="that hold the model; threads are shared out among them",
    )
    parser.add_argument(
        "--client",
        choices=("wrk", "python"),
        default="wrk" if WRK else "python",
        help="of the closed loops: wrk costs less of the cores that the servers run on",
    )
    parser.add_argument("--install-only", action="store_true", help="make the environments, measure nothing")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print the table."""
    before = machine()
    chosen = [peer for peer in PEERS if peer.name in arguments.peers]
    reasons = {peer.name: peer.missing or install(peer) for peer in chosen}
    if arguments.install_only:
        for name, reason in reasons.items():
            print(f"{name}: {reason or 'installed'}")
        return 0
    rows: list[dict[str, Any]] = []
    for mix in arguments.mix:
        entries = [Entry("marquee", processes=count) for count in arguments.processes]
        for peer in chosen:
            entries += [
                Entry(peer.name, peer, on, missing=reasons[peer.name], processes=count)
                for on in (False, True)[: 1 + bool(peer.batches)]
                for count in arguments.processes
                if count == 1 or peer.processes
            ]
        _rounds(arguments, mix, entries)
        rows += _rows(arguments, mix, entries)
    finish("peers", arguments, rows, before, client=arguments.client)
    return 0


def install(peer: Peer) -> str:
    """Make a peer's environment unless it is there; return why that failed, or nothing."""
    folder = models.CACHE / "peers" / peer.name
    stamp = folder / ".installed"
    wanted = "\n".join((*peer.requirements, *ENGINE))
    if not peer.requirements or (stamp.is_file() and stamp.read_text("utf-8") == wanted):
        return ""
    print(f"installing {peer.name} into {folder}", file=sys.stderr)
    pip = [
        str(folder / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        "--quiet",
    ]
    try:
        for command in ([peer.python, "-m", "venv", str(folder)], [*pip, *peer.requirements, *ENGINE]):
            subprocess.run(command, check=True, timeout=_INSTALL_SECONDS, capture_output=True, text=True)
    except FileNotFoundError:
        return f"there is no {peer.python}"
    except subprocess.TimeoutExpired:
        return f"not installed within {_INSTALL_SECONDS} s"
    except subprocess.CalledProcessError as error:
        return f"not installed: {_last_line(error.stderr)}"
    stamp.write_text(wanted, "utf-8")
    return ""


@contextmanager
def running(peer: Peer, folder: Path, threads: int, batching: bool, processes: int = 1) -> Iterator[int]:
    """Start a peer with the model in `folder`; give its port when it answers.

    Args:
        peer: what to start.
        folder: the model's.
        threads: of the engine, in each process.
        batching: whether it is to use its own.
        processes: how many hold the model.

    Raises:
        RuntimeError: it did not; says why.
    """
    python = (
        models.CACHE / "peers" / peer.name / "bin" / "python" if peer.requirements else Path(sys.executable)
    )
    port = _free_port()
    scratch = Path(tempfile.mkdtemp(prefix="peer-"))
    command = [
        str(python),
        str(APPS / f"{peer.name}_app.py"),
        str(folder),
        str(port),
        str(threads),
        str(int(batching)),
        str(processes),
    ]
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "SSL_CERT_FILE") if name in os.environ}
    # A folder of its own as home: what frameworks keep there must neither be found nor left.
    environment = kept | {"HOME": str(scratch), "TMPDIR": str(scratch), "PYTHONDONTWRITEBYTECODE": "1"}
    with (scratch / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=scratch,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RuntimeError(f"ended with {process.returncode}: {_last_line(_read(scratch))}")
            if ask(port, peer, "A warm, funny and beautifully acted film.", batching) is not None:
                break
            time.sleep(0.2)
        else:
            raise RuntimeError(f"no answer within {_START_SECONDS} s: {_last_line(_read(scratch))}")
        yield port
    finally:
        _end(process)
        shutil.rmtree(scratch, ignore_errors=True)


def ask(port: int, peer: Peer, text: str, batching: bool) -> float | None:
    """Return the probability that a peer answers; None where it does not answer yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(
            "POST", peer.path, json.dumps(peer.content(text, batching)), {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
        content = response.read()
        return peer.positive(json.loads(content)) if response.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _rounds(arguments: argparse.Namespace, mix: str, entries: list[Entry]) -> None:
    written = [
        " ".join(text.split()[:_LONGEST]) for text in texts.texts(mix, arguments.texts, arguments.data)
    ]
    folder = models.folder_of(arguments.model)
    rates: dict[int, float] = {}
    bar = progress(arguments.rounds * len(entries), "run", mix)
    for number in range(arguments.rounds):
        for entry in entries:
            bar.set_postfix_str(entry.label)
            if not entry.missing:
                try:
                    _measure(arguments, entry, folder, written, rates, number)
                except RuntimeError as error:
                    entry.missing = str(error)
            bar.update()
    bar.close()


def _measure(
    arguments: argparse.Namespace,
    entry: Entry,
    folder: Path,
    written: list[str],
    rates: dict[int, float],
    number: int,
) -> None:
    loop: Callable[..., Load] = closed_loop_by_wrk if arguments.client == "wrk" else closed_loop
    peer = entry.peer or Peer(
        "marquee", (), "/predict", lambda text: {"text": text}, lambda reply: reply["confidences"]["positive"]
    )
    requests = [post(peer.path, peer.content(text, entry.batching)) for text in written]
    threads = max(1, arguments.threads // entry.processes)
    context = (
        running(peer, folder, threads, entry.batching, entry.processes)
        if entry.peer
        else _ours(arguments.model, threads, entry.processes)
    )
    with context as port:
        _hold_to_the_engine(port, peer, folder, written[0], entry.batching)
        closed_loop(port, requests[:_WARM], 4, 1.0)
        for clients in arguments.clients:
            found = loop(port, requests, clients, arguments.seconds, skip=number * 7)
            entry.loads.setdefault(clients, Load()).add(found)
        if entry.name == "marquee" and number not in rates:
            rates[number] = 0.5 * max(load.rate for load in entry.loads.values())
        # Half of what Marquee does, asked of all alike.
        entry.loads.setdefault(0, Load()).add(
            open_loop(port, requests, rates[number], arguments.seconds, seed=number)
        )


@contextmanager
def _ours(model: str, threads: int, processes: int) -> Iterator[int]:
    with server(model, threads, WORKERS=str(processes)) as ours:
        yield ours.port


def _hold_to_the_engine(port: int, peer: Peer, folder: Path, text: str, batching: bool) -> None:
    sys.path.insert(0, str(APPS))
    from engine import Engine

    sys.path.remove(str(APPS))
    found, right = ask(port, peer, text, batching), Engine(folder, 1).predict([text])[0]
    if found is None or abs(found - right) > _LARGEST_DIFFERENCE:
        raise RuntimeError(f"it answers {found}, and the engine {right:.4f}")


def _rows(arguments: argparse.Namespace, mix: str, entries: list[Entry]) -> list[dict[str, Any]]:
    rows = []
    best = {
        clients: max(
            (entry.loads[clients].rate for entry in entries if entry.peer is None and clients in entry.loads),
            default=0.0,
        )
        for clients in arguments.clients
    }
    for entry in entries:
        row: dict[str, Any] = {"mix": mix, "server": entry.label}
        for clients in arguments.clients:
            load = entry.loads.get(clients)
            row[f"1/s at {clients}"] = load.rate if load else None
            row[f"marquee is × at {clients}"] = ratio(best[clients], load.rate) if load else None
        alone, half = entry.loads.get(min(arguments.clients)), entry.loads.get(0)
        row["p50 ms alone"] = alone.figures()["p50 ms"] if alone else None
        row["p99 ms at half load"] = half.figures()["p99 ms"] if half else None
        row["failed"] = sum(sum(load.failures.values()) for load in entry.loads.values())
        row["why not"] = entry.missing
        rows.append(row)
    return rows


def _free_port() -> int:
    """Return a port that is free, and so are the two after it, which some peers take for gRPC and metrics."""
    for _ in range(100):
        with socket.socket() as first, socket.socket() as second, socket.socket() as third:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
                third.bind(("127.0.0.1", port + 2))
            except (OSError, OverflowError):
                continue
            return port
    raise RuntimeError("no three free ports side by side")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a peer with all that it started: they are one process group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            continue
        time.sleep(0.5)
    process.wait(15)


def _read(scratch: Path) -> str:
    return (scratch / "output.txt").read_text("utf-8", "replace")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it said nothing"
