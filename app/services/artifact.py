"""What a model artifact is: a folder with the model's files and a ``marquee.json`` that describes them."""

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.core.errors import ModelLoadError
from app.services.json_files import read_json
from app.services.text import WindowPolicy

MANIFEST_NAME = "marquee.json"
FORMAT_VERSION = 1


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GoldenExample(_Strict):
    """An input and the answer that the exported model gave."""

    input: Any
    """One item as a client would send it: a text, a list of features, or the body a custom class takes."""
    label: str | None = None
    """The label that must come out, exactly."""
    confidences: dict[str, float] = Field(default_factory=dict)
    """Probabilities by label, each within the tolerance."""
    output: dict[str, Any] | None = None
    """For a custom class: fields that its response must have, numbers within the tolerance."""


class Golden(_Strict):
    """The examples that decide whether a loaded model is the exported one."""

    tolerance: float = Field(default=1e-5, gt=0, le=0.03)
    """The largest difference of a probability that the exporter measured between runtimes."""
    examples: tuple[GoldenExample, ...] = ()


class Preprocessing(_Strict):
    """How a text is read; the code is `app.services.text`."""

    max_tokens: int = 512
    overlap: int = 64
    max_windows: int = 8

    def windows(self) -> WindowPolicy:
        """Return the window policy.

        Raises:
            ModelLoadError: the numbers contradict each other.
        """
        try:
            return WindowPolicy(self.max_tokens, self.overlap, self.max_windows)
        except ValueError as error:
            raise ModelLoadError(f"{MANIFEST_NAME}: {error}") from error


class Manifest(_Strict):
    """The content of ``marquee.json``. A folder without the file gets the defaults."""

    format: Literal[1] = 1
    task: Literal["text-classification", "tabular-classification", "custom"] | None = None
    """What goes in and comes out; None where there is no manifest: the loader finds out."""
    labels: tuple[str, ...] = ()
    """The names of the model's outputs, in their order."""
    loader: str | None = None
    """The loader that `auto` takes; never one that runs code of the artifact."""
    preprocessing: Preprocessing = Field(default_factory=Preprocessing)
    temperature: float = Field(default=1.0, gt=0)
    """Logits are divided by it, so that confidences are calibrated."""
    training: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, Any] = Field(default_factory=dict)
    golden: Golden = Field(default_factory=Golden)
    reference: dict[str, Any] = Field(default_factory=dict)
    """The profile of the training data that drift is measured against."""

    def write(self, folder: Path) -> None:
        """Write ``marquee.json`` into `folder`."""
        text = json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False)
        (folder / MANIFEST_NAME).write_text(text + "\n", "utf-8")


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """Which model it is, exactly.

    Attributes:
        name: the artifact's or folder's name.
        version: ``v7``; ``embedded`` or ``local`` for models that no registry numbered.
        digest: W&B's artifact digest, computed from the files themselves.
    """

    name: str
    version: str
    digest: str


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A verified model on disk.

    Attributes:
        path: the folder (or, for a local model, the single file) that the loader reads.
        model: which one it is.
        source: where it came from.
        manifest: its description; defaults where it brought none.
        has_manifest: whether it brought one.
        artifact: the registry's full name with version, such as ``acme/reviews/sentiment:v7``; None otherwise.
        warnings: what its loader warned of, such as a pickle of another library version.
    """

    path: Path
    model: ModelVersion
    source: Literal["wandb", "local", "embedded"]
    manifest: Manifest
    has_manifest: bool
    artifact: str | None = None
    warnings: tuple[str, ...] = ()


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of `folder`, or None where it has none.

    Raises:
        ModelLoadError: the file is there but malformed, or of a format that this version does not know.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        return None
    try:
        content = read_json(path)
    except ValueError as error:
        raise ModelLoadError(str(error)) from error
    except OSError as error:
        raise ModelLoadError(f"{MANIFEST_NAME} cannot be read: {error.strerror or error}") from error
    if isinstance(content, dict) and content.get("format") != FORMAT_VERSION:
        raise ModelLoadError(
            f"{MANIFEST_NAME} has format {content.get('format')!r}, this server reads {FORMAT_VERSION}: "
            "export the model again with this version, or serve it with the version that wrote it"
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ModelLoadError(f"{MANIFEST_NAME}: {place}: {first['msg']}") from error


def file_digest(path: Path) -> str:
    """Return the digest of one file as W&B's manifests write it: base64 of its MD5."""
    state = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            state.update(block)
    return base64.b64encode(state.digest()).decode("ascii")


def manifest_digest(files: dict[str, str]) -> str:
    """Return W&B's artifact digest of files given as name to `file_digest`: MD5 over the sorted pairs, in hex."""
    state = hashlib.md5(b"wandb-artifact-manifest-v1\n", usedforsecurity=False)
    for name, digest in sorted(files.items()):
        state.update(f"{name}:{digest}\n".encode())
    return state.hexdigest()


def model_digest(path: Path) -> str:
    """Return the digest that W&B would give an artifact of this folder (or single file).

    It is computed from the files alone, so a copy on disk can be verified without asking anybody.
    """
    if path.is_file():
        return manifest_digest({path.name: file_digest(path)})
    return manifest_digest(
        {file.relative_to(path).as_posix(): file_digest(file) for file in path.rglob("*") if file.is_file()}
    )
