"""The serving image: its size, its start against the same process outside, and its memory against the limit.

Container and process take turns on the same core, so that a busy moment meets both. Where all moments are busy, see
the CPU time: a container has one share of a core, a process one for each of its threads. The model is the embedded one,
or the same pulled from a loopback W&B, or baked into the image. Needs Docker; the images are built first.
"""

import argparse
import http.client
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from app.core.config import EMBEDDED_MODEL_DIR
from benchmarks.report import add_json, finish, machine, median, ratio, table
from tests.cloud.container import (
    Container,
    Terms,
    a_free_port,
    bridge_address,
    byte_count,
    compressed_size,
    docker,
)
from tests.cloud.contract import LONG_TEXT
from tests.wandb_server import WandbServer

ROOT = Path(__file__).resolve().parents[1]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--core", type=int, default=0, help="the one that both may use")
    parser.add_argument("--memory", default="1Gi")
    parser.add_argument("--clients", type=int, default=16, help="at once, for the memory under load")
    parser.add_argument("--seconds", type=float, default=20, help="of load")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print the table."""
    before = machine()
    with WandbServer(host=bridge_address()) as server, tempfile.TemporaryDirectory() as scratch:
        pinned = _publish(server)
        image = _build("marquee:benchmark")
        baked = _build(
            "marquee:benchmark-baked", server.api_key, BAKE_MODEL="on", MODEL_NAME="sentiment", **pinned
        )
        starts = _starts(arguments, Path(scratch), image, baked, pinned, server.api_key)
    unpacked = int(docker("image", "inspect", "--format", "{{.Size}}", image))
    compressed = compressed_size(image)
    with Container(image, Terms(memory=arguments.memory)) as container:
        container.wait_until_ready()
        time.sleep(2)
        rest, _ = container.memory()
        answered = _load(container, arguments.clients, arguments.seconds)
        _, most = container.memory()
    limit = byte_count(arguments.memory)
    sizes = [
        {"size": "unpacked", "MB": round(unpacked / 1e6)},
        {"size": "compressed", "MB": round(compressed / 1e6)},
    ]
    held = [
        {"memory": "at rest", "MiB": round(rest / 2**20), "of the limit": f"{rest / limit:.0%}"},
        {
            "memory": f"at most, {arguments.clients} clients at once, {answered} answers",
            "MiB": round(most / 2**20),
            "of the limit": f"{most / limit:.0%}",
        },
    ]
    print(f"{table(sizes)}\n\n{table(held)}\n\nFrom start to ready, median of {arguments.runs}:\n")
    rows = []
    for name, inside in starts["inside"].items():
        outside = starts["outside"].get(name, [])
        used = median([cpu for _, cpu in inside]), median([cpu for _, cpu in outside])
        rows.append(
            {
                "model": name,
                "container, s": median([seconds for seconds, _ in inside]),
                "process outside, s": median([seconds for seconds, _ in outside]),
                "container, CPU s": used[0],
                "process outside, CPU s": used[1],
                "ratio of CPU": ratio(*used),
            }
        )
    finish("image", arguments, rows, before, sizes=sizes, memory=held, starts=starts)
    return 0


def _publish(server: WandbServer) -> dict[str, str]:
    """Publish the embedded model; return the variables that pin it."""
    files = {path.name: path.read_bytes() for path in EMBEDDED_MODEL_DIR.iterdir()}
    published = server.publish(f"{server.entity}/reviews/sentiment", files)
    return {
        "PROJECT_NAME": "reviews",
        "WANDB_ENTITY": server.entity,
        "WANDB_BASE_URL": server.url,
        "MODEL_VERSION": "v0",
        "MODEL_DIGEST": published.digest,
    }


def _build(image: str, key: str = "", **arguments: str) -> str:
    options = [item for name, value in arguments.items() for item in ("--build-arg", f"{name}={value}")]
    secret = ["--secret", "id=wandb_api_key,env=WANDB_API_KEY"] if key else []
    subprocess.run(
        ["docker", "build", "--quiet", "--tag", image, *options, *secret, str(ROOT)],
        env={**os.environ, "DOCKER_BUILDKIT": "1", "WANDB_API_KEY": key},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return image


def _starts(
    arguments: argparse.Namespace, scratch: Path, image: str, baked: str, pinned: dict[str, str], key: str
) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Return seconds and CPU seconds from start to ready, inside and outside, by where the model comes from."""
    quiet = {"INFERENCE_LOG": "false"}
    embedded = Terms(memory=arguments.memory, environment=quiet)
    pulled = Terms(memory=arguments.memory, environment=quiet | pinned, secrets={"WANDB_API_KEY": key})
    inside: dict[str, list[tuple[float, float]]] = {"embedded": [], "baked": [], "pulled": []}
    outside: dict[str, list[tuple[float, float]]] = {"embedded": [], "pulled": []}
    _outside(scratch, arguments.core, pulled)  # Writes the bytecode that the image has from its build.
    for _ in range(arguments.runs):
        for name, tag, terms in (
            ("embedded", image, embedded),
            ("baked", baked, pulled),
            ("pulled", image, pulled),
        ):
            with Container(tag, terms, "--cpuset-cpus", str(arguments.core)) as container:
                inside[name].append((container.wait_until_ready(), container.cpu_seconds()))
            if name in outside:
                outside[name].append(_outside(scratch, arguments.core, terms))
    return {"inside": inside, "outside": outside}


def _outside(scratch: Path, core: int, terms: Terms) -> tuple[float, float]:
    """Return seconds and CPU seconds from start to ready; the process finds its folders empty, as a container does."""
    port = a_free_port()
    folder = Path(tempfile.mkdtemp(dir=scratch))
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    places = {
        "PORT": str(port),
        "STATE_DIR": str(folder / "state"),
        "LOCAL_MODEL_DIR": str(folder / "models"),
    }
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "app"],
        cwd=ROOT,
        env=kept | places | terms.environment | terms.secrets,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _ready(port):
            if process.poll() is not None or time.monotonic() - started > 120:
                raise RuntimeError(f"python -m app is not ready (exit code {process.poll()})")
            time.sleep(0.01)
        seconds = time.monotonic() - started
        # utime and stime, its own and those of the children that have ended; see proc_pid_stat(5).
        times = Path(f"/proc/{process.pid}/stat").read_text("utf-8").rpartition(")")[2].split()[11:15]
        return seconds, sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
    finally:
        process.terminate()
        process.wait(15)


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _load(container: Container, clients: int, seconds: float) -> int:
    """Ask from `clients` threads at once; return how many answers came."""
    answers: list[int] = []
    end = time.monotonic() + seconds

    def ask() -> None:
        while time.monotonic() < end:
            status, _ = container.ask("POST", "/predict", {"text": LONG_TEXT})
            answers.append(status)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if set(answers) != {200}:
        raise RuntimeError(f"not every request got 200: {set(answers)}")
    return len(answers)
