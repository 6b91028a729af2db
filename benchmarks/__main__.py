"""``python -m benchmarks NAME``: run one benchmark and print its table."""

import argparse
import importlib
import sys

BENCHMARKS = {
    "agreement": "real reviews through HTTP, against the same model called directly in TensorFlow",
    "cold_start": "from process start to the first right answer over HTTP, in parts, against a bare app",
    "peers": "the same model, texts, engine and threads in other model servers",
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
    return int(importlib.import_module(f"benchmarks.{arguments.name}").run(arguments))


if __name__ == "__main__":
    sys.exit(main())
