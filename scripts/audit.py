"""``make audit``: look up what requirements/ pins among the published advisories, with pip-audit.

Exit code 0: nothing is known against them, or nothing could be asked, which the last line says; 1: something is known.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_SECONDS = 600


def pins(folder: Path) -> list[str]:
    """Return every ``name==version`` of the requirements files once; extras, markers and hashes are left out."""
    found = set()
    for file in folder.glob("*.txt"):
        for line in file.read_text("utf-8").splitlines():
            name, equals, rest = line.partition("==")
            if equals and not line.startswith((" ", "#")):
                found.add(f"{name.partition('[')[0]}=={rest.split()[0].rstrip(';')}")
    return sorted(found)


def report(dependencies: list[dict[str, Any]]) -> tuple[int, list[str]]:
    """Return the exit code and the lines to print for what pip-audit says of each dependency."""
    known = [
        f"{entry['name']} {entry['version']}: {found['id']}"
        + (f", mended in {', '.join(found['fix_versions'])}" if found.get("fix_versions") else "")
        for entry in dependencies
        for found in entry.get("vulns", [])
    ]
    skipped = [entry["name"] for entry in dependencies if "skip_reason" in entry]
    if known:
        return 1, [*known, f"FAILED: {len(known)} advisories"]
    if len(skipped) == len(dependencies):
        return 0, ["SKIPPED: the advisory service was not reached; nothing was audited"]
    if skipped:
        asked = len(dependencies) - len(skipped)
        return 0, [
            f"not audited: {', '.join(skipped)}",
            f"PARTLY SKIPPED: nothing known against {asked}, {len(skipped)} not audited",
        ]
    return 0, [f"passed: nothing is known against {len(dependencies)} packages"]


def main() -> int:
    """Ask, and print what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "pins.txt"
        listed.write_text("\n".join(pins(ROOT / "requirements")) + "\n", "utf-8")
        command = [
            sys.executable,
            "-m",
            "pip_audit",
            "--requirement",
            str(listed),
            "--no-deps",
            "--disable-pip",
        ]
        command += ["--format", "json", "--progress-spinner", "off"]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
            dependencies = json.loads(answer.stdout)["dependencies"]
        except (subprocess.TimeoutExpired, ValueError, KeyError):
            dependencies = []
    code, lines = report(dependencies)
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
