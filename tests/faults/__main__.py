"""Try all faults, or those whose names hold a word: `python -m tests.faults [WORD]`. Prints the table of the docs."""

import sys

from loguru import logger

from tests.faults.scenarios import SCENARIOS, run_all


def main(words: list[str]) -> int:
    """Print a row a fault; return 1 if a row was lost."""
    logger.remove()
    print("| fault | sent | stored | dropped, by reason | copies | seconds | what happened |")
    print("|---|---:|---:|---|---:|---:|---|", flush=True)
    failed = 0
    with run_all(name for name in SCENARIOS if all(word in name for word in words)) as outcomes:
        for name, future in outcomes.items():
            found = future.result()
            stored = len(found.stored & found.sent)
            dropped = ", ".join(f"{count} {reason}" for reason, count in sorted(found.dropped.items())) or "0"
            cells = [
                name,
                len(found.sent),
                stored,
                dropped,
                found.copies,
                f"{found.seconds:.0f}",
                found.remark,
            ]
            print("|", " | ".join(map(str, cells)), "|", flush=True)
            if found.lost or found.stored - found.sent:
                failed = 1
                print(f"{name}: {found.lost} rows are neither stored nor counted", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
