"""Tokens a second of each engine, as a share of what the processor's matrix products allow in the same run.

The limit is the best of several shapes of one matrix product, in fp32 and in int8 (uint8 × int8), by ONNX Runtime and
by OpenVINO, which is oneDNN. Weights are random: speed does not depend on what they say. Engines take turns at every
shape, each in a process of its own with the same threads; OpenVINO has an environment of its own, which this installs.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks import graphs, models
from benchmarks.peer_list import Peer
from benchmarks.peers import install
from benchmarks.report import add_json, finish, machine, progress, ratio, table

SHAPES = (
    (64, 768, 768),
    (128, 768, 3072),
    (128, 3072, 768),
    (512, 768, 3072),
    (1024, 1024, 1024),
    (2048, 2048, 2048),
)
"""Products: rows, inner size, columns; the first are those of a full-size model's layers."""
OPENVINO = Peer(
    "openvino", ("openvino==2026.4.1", "nncf==3.4.0", "onnx==1.23.2"), "", lambda text: text, float
)
_WORKER = Path(__file__).parent / "engine_worker.py"


@dataclass(frozen=True)
class Engine:
    """What is measured.

    Attributes:
        name: as the table shows it.
        kind: which maker of ``engine_worker.py``.
        source: the graph's file, or the width for TensorFlow.
        precision: which limit it is held to.
        python: the environment that has it.
    """

    name: str
    kind: str
    source: str
    precision: str
    python: str = sys.executable


class Worker:
    """An engine's process."""

    def __init__(self, engine: Engine, threads: int) -> None:
        self._command = [engine.python, str(_WORKER), engine.kind, engine.source, str(threads)]

    def __enter__(self) -> Self:
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        try:
            self._line()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self._process.communicate(timeout=60)
        self._errors.close()

    def measure(self, **job: Any) -> float:
        """Return the rate of one job; see ``engine_worker.py``.

        Raises:
            RuntimeError: the engine ended; with its last line.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # What is read next tells why.
        return float(json.loads(self._line()))

    def _line(self) -> str:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line == "ready\n" or line[:1].isdigit():
                return line
        self._process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        raise RuntimeError(lines[-1][:200] if lines else f"ended with {self._process.returncode}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        "--width", type=int, nargs="+", default=[768, 384], help="768: full size; 384: as the embedded model"
    )
    parser.add_argument("--tokens", type=int, nargs="+", default=[16, 64, 128, 256, 512])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument(
        "--most", type=int, default=4096, help="tokens in a batch; larger shapes are left out"
    )
    parser.add_argument("--seconds", type=float, default=2, help="of one run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--no-openvino", action="store_true", help="do not install and measure OpenVINO")
    parser.add_argument("--no-tensorflow", action="store_true", help="do not measure TensorFlow")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print the table."""
    before = machine()
    openvino = None if arguments.no_openvino else _openvino()
    best = limits(arguments, openvino)
    print(table([{"limit": name, "10^9 operations a second": value} for name, value in best.items()]), "\n")
    most = {
        precision: max(value for name, value in best.items() if precision in name)
        for precision in ("fp32", "int8")
    }
    rows: list[dict[str, Any]] = []
    for width in arguments.width:
        rows += _width(arguments, width, engines(arguments, width, openvino), most)
    finish("engine", arguments, rows, before, limits=best)
    return 0


def engines(arguments: argparse.Namespace, width: int, openvino: str | None) -> list[Engine]:
    """Return what can be measured here."""
    found = [
        Engine("ONNX Runtime fp32, fused", "onnx", str(models.graph(width, "fp32")), "fp32"),
        Engine("ONNX Runtime int8 dynamic, as exported", "onnx", str(models.graph(width, "int8")), "int8"),
        Engine("ONNX Runtime int8 static, QDQ", "onnx", str(graphs.static(width)), "int8"),
    ]
    if openvino:
        plain = str(graphs.plain(width))
        found.append(Engine("OpenVINO fp32", "openvino", plain, "fp32", openvino))
        found.append(Engine("OpenVINO int8 static, NNCF", "openvino-int8", plain, "int8", openvino))
    if not arguments.no_tensorflow and importlib.util.find_spec("tensorflow"):
        found.append(Engine("TensorFlow, traced function", "tensorflow", str(width), "fp32"))
    return found


def operations(tokens: int, width: int, layers: int = models.LAYERS) -> float:
    """Return the operations of one text: matrix products of the layers and of attention, two for each product."""
    linear = (4 * width * width + 2 * width * 4 * width) * tokens
    attention = 2 * tokens * tokens * width
    return 2.0 * layers * (linear + attention)


def limits(arguments: argparse.Namespace, openvino: str | None) -> dict[str, float]:
    """Return the best rate of the products, 10^9 operations a second, by precision and library."""
    libraries = {"ONNX Runtime": Engine("", "gemm-onnx", "-", "")}
    if openvino:
        libraries["OpenVINO"] = Engine("", "gemm-openvino", "-", "", openvino)
    best: dict[str, float] = {}
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="products-")))
        workers = {
            name: stack.enter_context(Worker(library, arguments.threads))
            for name, library in libraries.items()
        }
        bar = progress(arguments.rounds * 2 * len(SHAPES), "product", "limit")
        for _ in range(arguments.rounds):
            for precision in ("fp32", "int8"):
                for shape in SHAPES:
                    for name, worker in workers.items():
                        # OpenVINO runs MatMulInteger by a reference, and oneDNN where it finds quantised floats.
                        form = "int8 QDQ" if (precision, name) == ("int8", "OpenVINO") else precision
                        rate = worker.measure(
                            file=_product(scratch, form, shape),
                            precision=form,
                            seconds=arguments.seconds / 4,
                            **dict(zip(("rows", "inner", "columns"), shape, strict=True)),
                        )
                        key = f"{precision}, {name}"
                        best[key] = max(best.get(key, 0.0), rate)
                    bar.update()
        bar.close()
    return best


def _product(folder: Path, form: str, shape: tuple[int, int, int]) -> str:
    file = folder / f"{form}-{shape}.onnx"
    if not file.is_file():
        file.write_bytes(graphs.product(*shape, form))
    return str(file)


def _width(
    arguments: argparse.Namespace, width: int, found: Sequence[Engine], most: dict[str, float]
) -> list[dict[str, Any]]:
    shapes = [(t, b) for t in arguments.tokens for b in arguments.batch if t * b <= arguments.most]
    best: dict[tuple[str, int, int], float] = {}
    missing: dict[str, str] = {}
    bar = progress(arguments.rounds * len(shapes) * len(found), "run", f"6×{width}")
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for engine in found:
            try:
                workers[engine.name] = stack.enter_context(Worker(engine, arguments.threads))
            except RuntimeError as error:
                missing[engine.name] = str(error)
        for _ in range(arguments.rounds):
            for tokens, batch in shapes:
                for name, worker in workers.items():
                    if name not in missing:
                        try:
                            rate = worker.measure(tokens=tokens, batch=batch, seconds=arguments.seconds)
                        except RuntimeError as error:
                            missing[name] = str(error)
                            continue
                        best[name, tokens, batch] = max(best.get((name, tokens, batch), 0.0), rate)
                    bar.update()
    bar.close()
    rows: list[dict[str, Any]] = []
    for engine in found:
        for tokens, batch in shapes:
            rate = best.get((engine.name, tokens, batch))
            if rate is None:
                continue
            done = rate / tokens * operations(tokens, width) / 1e9
            rows.append(
                {
                    "model": f"6×{width}", "engine": engine.name, "batch": batch, "tokens": tokens, "tokens/s": rate,
                    "10^9 op/s": done, "share of the limit": ratio(done, most[engine.precision]),
                    "limit": engine.precision,
                }
            )  # fmt: skip
        if engine.name in missing:
            rows.append(
                {
                    "model": f"6×{width}",
                    "engine": engine.name,
                    "limit": f"not measured: {missing[engine.name]}",
                }
            )
    return rows


def _openvino() -> str | None:
    reason = install(OPENVINO)
    if reason:
        print(f"OpenVINO is left out: {reason}", file=sys.stderr)
        return None
    return str(models.CACHE / "peers" / OPENVINO.name / "bin" / "python")
