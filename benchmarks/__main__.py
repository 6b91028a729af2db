"""``python -m benchmarks NAME``: run one benchmark and print its table."""

import argparse
import importlib
import signal
import sys

BENCHMARKS = {
    "at_once": "runs of one graph alone and at once, on sessions of one thread and of all",
    "drift": "after how many texts of another kind the monitor tells, and how often it does so without a reason",
    "feedback": "the live accuracy from feedback over HTTP, against the accuracy of the same answers offline",
    "agreement": "real reviews through HTTP, against the same model called directly in TensorFlow",
    "cold_start": "from process start to the first right answer over HTTP, in parts, against a bare app",
    "engine": "tokens a second of each engine, as a share of what the processor's matrix products allow",
    "image": "the serving image: size, start against the same process outside, memory; needs Docker",
    "log_overhead": "what logging every inference costs in throughput and p99",
    "log_append": "what a row of the inference log costs on the event loop, and SQLite in place of the spool",
    "log_wait": "what it costs to let replies wait until W&B has their rows",
    "log_volume": "is every inference of many a second found in W&B, and what does history carry",
    "memory": "memory over many requests of mixed lengths, and of a model of full size",
    "peers": "the same model, texts, engine and threads in other model servers",
    "plot": "draw the JSON files of the other benchmarks",
    "serve": "throughput and latency over HTTP, against the same engine called directly",
}


def main() -> int:
    """Run the benchmark that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    for name, description in BENCHMARKS.items():
        command = names.add_parser(name, help=description, description=description)
        if name in sys.argv[1:2]:
            importlib.import_module(f"benchmarks.{name}").add_arguments(command)
    arguments = parser.parse_args()
    # As an interrupt does: servers that were started must not outlive their benchmark.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    return int(importlib.import_module(f"benchmarks.{arguments.name}").run(arguments))


if __name__ == "__main__":
    sys.exit(main())
