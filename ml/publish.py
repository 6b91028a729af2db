"""Log a model folder to W&B as an artifact, link it to the registry, and move ``production`` when it may."""

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core.errors import ModelLoadError
from app.services.artifact import MANIFEST_NAME, Manifest, model_digest, read_manifest

PRODUCTION = "production"


class PublishError(RuntimeError):
    """The model was not published, or an alias was not moved; the message says why."""


@dataclass(frozen=True)
class Published:
    """Where a model is now.

    Attributes:
        name: ``entity/project/name:vN``.
        digest: the artifact's.
        aliases: that point to it.
        registry: ``organisation/registry/name:vN`` where it was linked; the number is the registry's own.
    """

    name: str
    digest: str
    aliases: tuple[str, ...]
    registry: str | None


def publish(
    folder: Path,
    project: str,
    name: str,
    *,
    aliases: tuple[str, ...] = (),
    registry: str | None = None,
    entity: str | None = None,
    curves: dict[str, Any] | None = None,
    report: Path | None = None,
) -> Published:
    """Log the model in `folder`; W&B moves ``latest`` to it by itself.

    Args:
        folder: a servable folder.
        project: the W&B project.
        name: the artifact's name.
        aliases: further aliases to put on it.
        registry: a registry path such as ``wandb-registry-model/sentiment`` to link it to.
        entity: the team or user; the key's default where None.
        curves: final figures for the run's summary.
        report: a folder of an evaluation; its text and plots go with the run.

    Raises:
        PublishError: there is no key, W&B refuses or does not answer, or it would give the artifact another
            digest than the server expects.
        ModelLoadError: the folder is no model.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise ModelLoadError(f"{folder} has no {MANIFEST_NAME}: export the model first")
    if not os.environ.get("WANDB_API_KEY"):
        raise PublishError("WANDB_API_KEY is not set: publishing needs a key of the W&B project")
    import wandb

    with (
        _told(),
        wandb.init(project=project, entity=entity, job_type="publish", config=manifest.training) as run,
    ):
        artifact = wandb.Artifact(
            name, type="model", description=_description(manifest), metadata=_metadata(manifest)
        )
        artifact.add_dir(str(folder))
        if artifact.digest != model_digest(folder):
            raise PublishError(
                f"W&B would give {folder.name} the digest {artifact.digest}, its files have {model_digest(folder)}: "
                "does it hold links?"
            )
        logged = run.log_artifact(artifact, aliases=list(dict.fromkeys(["latest", *aliases])))
        logged.wait()
        target = None
        if registry:
            target = run.link_artifact(logged, registry, aliases=list(aliases)).qualified_name
        run.summary.update(_flat(manifest.metrics) | (curves or {}))
        if report is not None and (report / "evaluation.png").is_file():
            run.log({"evaluation": wandb.Image(str(report / "evaluation.png"))})
        return Published(logged.qualified_name, logged.digest, tuple(logged.aliases), target)


def promote(artifact: str, alias: str = PRODUCTION) -> None:
    """Move `alias` to a version, given as ``entity/project/name:vN``.

    Raises:
        PublishError: there is no such version, or W&B refuses or does not answer.
    """
    import wandb

    with _told():
        found = wandb.Api().artifact(artifact, type="model")
        found.aliases.append(alias)
        found.save()


def current(collection: str, folder: Path, alias: str = PRODUCTION) -> Path | None:
    """Download what `alias` of ``entity/project/name`` points to into `folder`, verified.

    Returns:
        The folder, or None where the alias does not exist yet.

    Raises:
        PublishError: W&B refuses or does not answer: that is no proof that there is none.
    """
    import wandb

    with _told():
        try:
            artifact = wandb.Api().artifact(f"{collection}:{alias}", type="model")
        except wandb.errors.CommError as error:
            if "not found" not in str(error):
                raise
            return None
        target = Path(artifact.download(root=str(folder), skip_cache=True))
        artifact.verify(root=str(target))
    return target


@contextmanager
def _told() -> Iterator[None]:
    """Tell what the W&B client raises in one line of ours."""
    import wandb

    try:
        yield
    except wandb.errors.Error as error:
        raise PublishError(f"W&B: {' '.join(str(error).split()) or type(error).__name__}") from error


def _metadata(manifest: Manifest) -> dict[str, Any]:
    return {
        "task": manifest.task,
        "labels": list(manifest.labels),
        "loader": manifest.loader,
        "preprocessing": manifest.preprocessing.model_dump(),
        "metrics": manifest.metrics,
        "golden_examples": len(manifest.golden.examples),
    }


def _description(manifest: Manifest) -> str:
    scores = {
        name: values.get("accuracy") for name, values in manifest.metrics.items() if isinstance(values, dict)
    }
    return ", ".join(
        f"{name} accuracy {value:.2%}" for name, value in scores.items() if isinstance(value, float)
    )


def _flat(metrics: dict[str, Any]) -> dict[str, float]:
    return {
        f"{data}/{name}": value
        for data, values in metrics.items()
        if isinstance(values, dict)
        for name, value in values.items()
        if isinstance(value, (int, float))
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of ``python -m ml publish``."""
    parser.add_argument("model", type=Path, help="a servable folder")
    parser.add_argument(
        "--project", default=os.environ.get("PROJECT_NAME"), help="W&B project (PROJECT_NAME)"
    )
    parser.add_argument(
        "--entity", default=os.environ.get("WANDB_ENTITY"), help="W&B team or user (WANDB_ENTITY)"
    )
    parser.add_argument(
        "--name", default=os.environ.get("LOCAL_MODEL_NAME", "sentiment"), help="the artifact's name"
    )
    parser.add_argument("--alias", action="append", default=[], help="a further alias; may be repeated")
    parser.add_argument(
        "--registry", help="link to this registry path, such as wandb-registry-model/sentiment"
    )
    parser.add_argument("--report", type=Path, help="the folder of an evaluation to log with it")
    parser.add_argument(
        "--promote",
        choices=("never", "if-not-worse", "always"),
        default="never",
        help="move `production`: only when a paired test against the current one allows it, or without asking",
    )
    parser.add_argument(
        "--data", type=Path, help="labelled texts for the paired test; our own acceptance texts by default"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run ``python -m ml publish``."""
    if not arguments.project:
        raise PublishError("no W&B project: set PROJECT_NAME or give --project")
    published = publish(
        arguments.model,
        arguments.project,
        arguments.name,
        aliases=tuple(arguments.alias),
        registry=arguments.registry,
        entity=arguments.entity,
        report=arguments.report,
    )
    print(
        json.dumps({"artifact": published.name, "digest": published.digest, "registry": published.registry})
    )
    if arguments.promote == "never":
        return 0
    # A server reads the registry where one is given, else the project; the alias means the same in both.
    places = [place for place in (published.registry, published.name) if place]
    if arguments.promote == "if-not-worse" and not _not_worse(arguments, places[0].rpartition(":")[0]):
        return 1
    for place in places:
        promote(place)
        print(f"{PRODUCTION} is {place} now")
    return 0


def _not_worse(arguments: argparse.Namespace, collection: str) -> bool:
    import tempfile

    from ml import dataset
    from ml.accept import acceptance_dataset, compare
    from ml.evaluate import load_model

    with tempfile.TemporaryDirectory() as scratch:
        folder = current(collection, Path(scratch) / "current")
        if folder is None:
            print(f"no {PRODUCTION} yet: this one becomes it")
            return True
        data = dataset.load(arguments.data) if arguments.data else acceptance_dataset()
        verdict = compare(load_model(arguments.model)[0], load_model(folder)[0], data)
    print(verdict)
    return verdict.not_worse
