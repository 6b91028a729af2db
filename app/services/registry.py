"""Where the model's files come from: the W&B registry, a local folder, or the embedded model.

`python -m app.services.registry` prints which version the configuration names now, as one JSON object;
`python -m app.services.registry pull` brings it into LOCAL_MODEL_DIR too, verified.
"""

import json
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from loguru import logger

from app.core.config import EMBEDDED_MODEL_DIR, Settings, load_settings
from app.core.errors import (
    ConfigurationError,
    DigestMismatchError,
    MissingKeyError,
    StartupError,
    StorageError,
)
from app.core.folders import ensure_writable, scratch_folder
from app.services.artifact import (
    Manifest,
    ModelFiles,
    ModelVersion,
    manifest_digest,
    model_digest,
    read_manifest,
)
from app.services.model_store import ModelStore, Record, verify_files
from app.services.wandb_client import call_client


@dataclass(frozen=True, slots=True)
class ResolvedVersion:
    """What an alias points to now: full name with version, version, W&B's digest."""

    artifact: str
    version: str
    digest: str


def obtain_model(settings: Settings, cancelled: threading.Event | None = None) -> ModelFiles:
    """Bring the configured model onto the disk, verified. Blocks, at most REGISTRY_TIMEOUT_SECONDS on W&B.

    A pinned version with a verified copy on disk is taken without asking W&B. Nothing else is taken instead
    of what cannot be had.

    Args:
        settings: the configuration.
        cancelled: set by another thread to give up at once.

    Raises:
        StartupError: as a subclass that says what is wrong; the message says how to mend it.
    """
    if settings.source == "embedded":
        why = "no PROJECT_NAME is set" if settings.model_source == "auto" else "MODEL_SOURCE=embedded"
        logger.info("serving the embedded model: {}", why)
        return _from_disk(settings, EMBEDDED_MODEL_DIR, "embedded", "embedded")
    if settings.source == "local":
        path = settings.local_model_dir / settings.local_model_name
        _check_local(path)
        return _from_disk(settings, path, settings.artifact_name, "local")
    return _from_registry(settings, cancelled)


def resolve_version(settings: Settings, cancelled: threading.Event | None = None) -> ResolvedVersion:
    """Ask W&B which version and digest the configured name and alias mean now; nothing is downloaded.

    Args:
        settings: the configuration.
        cancelled: set by another thread to give up at once.

    Raises:
        StartupError: as `obtain_model`.
    """
    ensure_writable(settings.state_dir, "STATE_DIR", private=True)
    deadline = time.monotonic() + settings.registry_timeout_seconds
    with scratch_folder(settings.state_dir) as scratch:
        answer = call_client(
            _question(settings),
            folder=scratch,
            base_url=settings.wandb_base_url,
            deadline=deadline,
            cancelled=cancelled,
        )
    return ResolvedVersion(answer["artifact"], answer["version"], answer["digest"])


def discard_version(settings: Settings, version: str, obtained_at: float) -> None:
    """Delete a pulled version from the disk, unless another process has taken it up since `obtained_at` (UNIX time)."""
    if _store(settings).discard(version, obtained_at):
        logger.info("deleted {} of {}", version, settings.local_model_dir / settings.artifact_name)


def _store(settings: Settings, folder: Path | None = None) -> ModelStore:
    return ModelStore(
        (folder or settings.local_model_dir) / settings.artifact_name,
        f"{settings.wandb_base_url or 'wandb'} {_reference(settings)}",
    )


def _pinned_copy(settings: Settings) -> ModelFiles | None:
    for folder in filter(None, (settings.baked_model_dir, settings.local_model_dir)):
        store = _store(settings, folder)
        if record := store.verified(settings.model_version):
            if (settings.model_digest or record.digest).lower() == record.digest:
                logger.info("{} is on disk and verified: W&B is not asked", record.artifact)
                return _pulled(store, record)
            logger.warning("the copy of {} on disk has another digest than MODEL_DIGEST", record.artifact)
    return None


def _pull(settings: Settings) -> ResolvedVersion:
    if not (settings.source == "wandb" and settings.pinned and settings.model_digest):
        raise ConfigurationError(
            "MODEL_SOURCE, MODEL_VERSION, MODEL_DIGEST: a pull for later needs the registry, a version such as v7 "
            "and its digest"
        )
    files = obtain_model(settings)
    return ResolvedVersion(str(files.artifact), files.model.version, files.model.digest)


def _check_local(path: Path) -> None:
    if not path.exists():
        raise StorageError(
            f"LOCAL_MODEL_DIR and LOCAL_MODEL_NAME name {path}, which does not exist: put a model there, "
            "or set PROJECT_NAME and MODEL_SOURCE=wandb to pull one"
        )
    if pulled := sorted(item.stem for item in path.glob("v*.json")):
        raise StorageError(
            f"{path} holds pulled versions ({', '.join(pulled)}), not a model: set MODEL_SOURCE=wandb and "
            f"MODEL_VERSION={pulled[-1]}, which starts without W&B, or set LOCAL_MODEL_DIR={path} and "
            f"LOCAL_MODEL_NAME={pulled[-1]}"
        )


def _from_disk(settings: Settings, path: Path, name: str, source: Literal["local", "embedded"]) -> ModelFiles:
    if not path.exists():
        raise StorageError(f"the embedded model is missing at {path}: check the repository out whole")
    digest = model_digest(path)
    if settings.model_loader.lower() == "joblib" and not settings.model_digest:
        raise ConfigurationError(
            f"MODEL_LOADER=joblib reads a pickle, which runs code, and nothing says that {path} is the right one: "
            f"if you trust it as it is, set MODEL_DIGEST={digest}"
        )
    if settings.model_digest and settings.model_digest.lower() != digest:
        raise DigestMismatchError(
            f"{path} has the digest {digest}, but MODEL_DIGEST asks for {settings.model_digest}: "
            "put the right model there, or correct MODEL_DIGEST"
        )
    return _files(path, ModelVersion(name, source, digest), source)


def _from_registry(settings: Settings, cancelled: threading.Event | None) -> ModelFiles:
    deadline = time.monotonic() + settings.registry_timeout_seconds
    folder = settings.local_model_dir / settings.artifact_name
    if folder.resolve().is_relative_to(EMBEDDED_MODEL_DIR):
        raise ConfigurationError(
            f"LOCAL_MODEL_DIR and LOCAL_MODEL_NAME make {folder}, which holds the embedded model: choose another name"
        )
    store = _store(settings)
    if settings.pinned and (copy := _pinned_copy(settings)):
        return copy
    question = _question(settings)
    ensure_writable(settings.state_dir, "STATE_DIR", private=True)
    ensure_writable(folder, "LOCAL_MODEL_DIR")
    # A pinned version gets here only if its copy on disk is not to be used.
    known, attempts = {} if settings.pinned else store.digests(), 2
    while True:
        with scratch_folder(settings.state_dir) as wandb_folder, scratch_folder(folder) as scratch:
            answer = call_client(
                {
                    **question,
                    "folder": str(scratch / "files"),
                    "digest": settings.model_digest,
                    "known": known,
                    "most_bytes": settings.model_max_bytes,
                },
                folder=wandb_folder,
                base_url=settings.wandb_base_url,
                deadline=deadline,
                cancelled=cancelled,
            )
            if not answer["downloaded"]:
                if record := store.verified(answer["version"]):
                    return _pulled(store, record)
                logger.warning(
                    "the copy of {} on disk is damaged: it is downloaded again", answer["artifact"]
                )
                known = {}
                continue
            attempts -= 1
            try:
                record = _verified_download(scratch / "files", answer, store.reference)
            except DigestMismatchError as error:
                if not attempts:
                    raise
                logger.warning("{}: downloading again", error)
                continue
            _place(store, scratch / "files", record)
        return _pulled(store, record)


def _verified_download(folder: Path, answer: dict[str, Any], reference: str) -> Record:
    name, expected = answer["artifact"], answer["files"]
    try:
        files = verify_files(folder, expected)
        digest = manifest_digest(files)
        if None not in expected.values() and digest != answer["digest"]:
            raise DigestMismatchError(f"the files have the digest {digest}, not {answer['digest']}")
    except DigestMismatchError as error:
        raise DigestMismatchError(
            f"{name} did not arrive whole: {error}; if it stays so, log the model to W&B again"
        ) from error
    return Record(name, reference, answer["version"], answer["digest"], files)


def _place(store: ModelStore, folder: Path, record: Record) -> None:
    try:
        store.place(folder, record)
    except OSError as error:
        raise StorageError(
            f"{record.artifact} cannot be kept in LOCAL_MODEL_DIR, {store.folder} ({error.strerror or error})"
        ) from error
    logger.info("pulled {} (digest {})", record.artifact, record.digest)
    if gone := store.prune(record.version):
        logger.info("deleted the older versions {} of {}", ", ".join(gone), store.folder)


def _pulled(store: ModelStore, record: Record) -> ModelFiles:
    version = ModelVersion(store.folder.name, record.version, record.digest)
    return _files(store.path(record.version), version, "wandb", record.artifact)


def _files(
    path: Path,
    version: ModelVersion,
    source: Literal["wandb", "local", "embedded"],
    artifact: str | None = None,
) -> ModelFiles:
    manifest = read_manifest(path)
    return ModelFiles(path, version, source, manifest or Manifest(), manifest is not None, artifact)


def _reference(settings: Settings) -> str:
    if not settings.project_name:
        raise ConfigurationError(
            "PROJECT_NAME is not set: the registry (MODEL_SOURCE=wandb) needs the W&B project"
        )
    if "/" in settings.project_name:
        raise ConfigurationError(
            "PROJECT_NAME holds a '/': set the entity in WANDB_ENTITY and only the project here"
        )
    return "/".join(filter(None, [settings.wandb_entity, settings.project_name, settings.artifact_name]))


def _question(settings: Settings) -> dict[str, Any]:
    reference = _reference(settings)
    if (settings.project_name or "").startswith("wandb-registry-"):
        reference = f"{settings.project_name}/{settings.artifact_name}"
    if settings.wandb_api_key is None:
        raise MissingKeyError(
            f"WANDB_API_KEY is not set, and {reference}:{settings.model_version} is to come from W&B: set the key, "
            "or MODEL_SOURCE=local or embedded to serve a model without W&B"
        )
    return {
        "reference": reference,
        "alias": settings.model_version,
        "key": settings.wandb_api_key.get_secret_value(),
        "base_url": settings.wandb_base_url,
        "entity": settings.wandb_entity,
    }


def main() -> None:
    """Print what MODEL_VERSION means now, pulled if asked; an error: one line to standard error, exit code 1."""
    try:
        resolved = _pull(load_settings()) if sys.argv[1:] == ["pull"] else resolve_version(load_settings())
    except StartupError as error:
        sys.exit(str(error))
    sys.stdout.write(json.dumps(asdict(resolved)) + "\n")


if __name__ == "__main__":
    main()
