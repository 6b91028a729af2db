"""May this version of the registry have traffic? Its own golden examples, our sentences, the version that has it now.

A build runs it in the image of the tests, which holds the code and the dependencies that serve.
"""

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from app.core.config import Settings, load_settings
from app.core.errors import GoldenMismatchError, ModelLoadError
from app.services.artifact import ModelFiles
from app.services.golden import check_model
from app.services.predictor import Predictor, load_predictor
from app.services.registry import obtain_model
from ml.accept import FLOOR, accept, acceptance_dataset, compare
from ml.acceptance import AcceptanceError


def verdict(settings: Settings, against: str | None, acceptance: str, floor: float) -> dict[str, Any]:
    """Pull the pinned candidate and put it to the test; the story goes to standard output.

    Args:
        settings: name the candidate, with version and digest.
        against: ``VERSION:DIGEST`` of the version with traffic, under the same name; None where there is none.
        acceptance: ``sentences`` or ``golden``.
        floor: the accuracy on our sentences to reach.

    Returns:
        `accepted`, `reasons` where it is not, and `golden`: the requests to send to the deployed candidate.

    Raises:
        StartupError: a version could not be obtained, or the one with traffic could not be loaded: no verdict.
        AcceptanceError: the version with traffic cannot be asked our sentences.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = _obtain(settings, Path(folder) / "candidate")
        reasons: list[str] = []
        try:
            predictor = load_predictor(files, settings)
            check = check_model(predictor, files)
            print(f"{files.artifact}: loaded; check: {check.kind}, {check.examples} examples")
            if acceptance == "sentences":
                test = accept(predictor, floor)
                print(test)
                if not test.accepted:
                    reasons.append(
                        f"{test.overall.accuracy:.1%} of the acceptance texts right, below the floor of {floor:.1%}"
                    )
        except (ModelLoadError, GoldenMismatchError, AcceptanceError) as error:
            return _reply(files, [str(error)])
        if acceptance == "sentences" and against:
            reasons += _worse(predictor, settings, against, Path(folder) / "current")
        return _reply(files, reasons)


def _worse(candidate: Predictor, settings: Settings, against: str, folder: Path) -> list[str]:
    version, _, digest = against.partition(":")
    pinned = settings.model_copy(update={"model_version": version, "model_digest": digest or None})
    current = load_predictor(_obtain(pinned, folder), pinned)
    comparison = compare(candidate, current, acceptance_dataset())
    print(comparison)
    return [] if comparison.not_worse else [f"against {version}, which has traffic: {comparison.reason}"]


def _obtain(settings: Settings, folder: Path) -> ModelFiles:
    # A folder a version: a store keeps few, and neither may push the other out.
    return obtain_model(settings.model_copy(update={"local_model_dir": folder}))


def _reply(files: ModelFiles, reasons: list[str]) -> dict[str, Any]:
    golden = files.manifest.golden
    examples = [
        {
            "body": _body(example.input),
            "label": example.label,
            "confidences": example.confidences,
            "output": example.output,
        }
        for example in golden.examples
    ]
    return {
        "accepted": not reasons,
        "reasons": reasons,
        "golden": {"tolerance": golden.tolerance, "examples": examples},
    }


def _body(content: Any) -> dict[str, Any]:
    if isinstance(content, dict):
        return content
    return {"text" if isinstance(content, str) else "features": content}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of ``python -m ml gate``; the server's variables name the candidate."""
    parser.add_argument("--against", help="VERSION:DIGEST of the version with traffic")
    parser.add_argument(
        "--acceptance",
        choices=("sentences", "golden"),
        default="sentences",
        help="our sentences, or for a model of another kind only its golden examples (default: %(default)s)",
    )
    parser.add_argument("--floor", type=float, default=FLOOR, help="accuracy to reach (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Run ``python -m ml gate``: the story to standard error, the verdict as one JSON line to standard output."""
    settings = load_settings()
    with contextlib.redirect_stdout(sys.stderr):
        reply = verdict(settings, arguments.against, arguments.acceptance, arguments.floor)
    print(json.dumps(reply))
    return 0
