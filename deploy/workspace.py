"""What the steps of a build tell each other: files under ``.release/`` of the workspace that they share."""

import json
import sys
from pathlib import Path
from typing import Any

from deploy.process import ReleaseError

FOLDER = Path(".release")


class Workspace:
    """One build's folder: `plan`, `golden` and `candidate` as JSON, and two files for the shell of deploy/image.sh."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder

    def plan(self) -> dict[str, Any] | None:
        """Return the plan, None where there is nothing to release, which is said again."""
        plan = self.read("plan")
        if plan["release"]:
            return dict(plan)
        say(f"nothing to do: {plan['why']}")
        return None

    def nothing(self, why: str) -> None:
        """End the release here; the steps that follow do nothing, and the build is green."""
        self.write("plan", {"release": False, "why": why})
        self.write_text("nothing", why)
        say(f"nothing to do: {why}")

    def candidate(self) -> str:
        """Return the name of the revision that this build deployed; empty before it did."""
        there = (self._folder / "candidate.json").is_file()
        return str(self.read("candidate")["revision"]) if there else ""

    def write(self, name: str, content: Any) -> None:
        """Keep something for the later steps."""
        self.write_text(f"{name}.json", json.dumps(content, indent=2))

    def write_text(self, name: str, text: str) -> None:
        """Keep a text."""
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / name).write_text(text + "\n", "utf-8")

    def read(self, name: str) -> Any:
        """Return what an earlier step kept.

        Raises:
            ReleaseError: it did not run.
        """
        return json.loads(self.read_text(f"{name}.json"))

    def read_text(self, name: str) -> str:
        """Return a text that an earlier step kept, without blanks round it.

        Raises:
            ReleaseError: it did not run.
        """
        try:
            return (self._folder / name).read_text("utf-8").strip()
        except FileNotFoundError:
            raise ReleaseError(f"{self._folder / name} is missing: an earlier step did not run") from None


def last_json(output: str) -> dict[str, Any]:
    """Return the JSON object in the last line that is one.

    Raises:
        ReleaseError: there is none.
    """
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise ReleaseError("the image answered nothing that can be read; see above")
    return dict(json.loads(lines[-1]))


def say(line: str) -> None:
    """Write a line to the build's log, now."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
