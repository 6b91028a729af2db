"""Replies about the service itself."""

from typing import Any, Literal

from pydantic import BaseModel, Field

State = Literal["starting", "ready", "failed", "stopping"]


class ModelIdentity(BaseModel):
    """Which model it is, exactly."""

    name: str
    version: str = Field(description="`v7`; `embedded` or `local` for models that no registry numbered.")
    digest: str = Field(description="W&B's artifact digest, computed from the files themselves.")


class Live(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    """Whether predictions are answered."""

    status: State
    reason: str | None = Field(default=None, description="Why not; null when ready.")
    model: ModelIdentity | None = None


class Check(BaseModel):
    """How the loaded model was checked before it was served."""

    kind: Literal["golden", "smoke", "none"] = Field(
        description="`golden`: answered its exporter's examples as measured; `smoke`: answered; `none`: not checked."
    )
    examples: int
    largest_difference: float | None = Field(
        description="Largest difference of a probability from the expected one."
    )
    warnings: list[str] = Field(
        description="What its loader warned of, such as a pickle of another library version."
    )


class Refresh(BaseModel):
    """How an unpinned server follows its alias."""

    state: Literal["following", "degraded"]
    reason: str | None = Field(
        description="Why the model that is served may be outdated; null when following."
    )
    checked_at: str | None = Field(description="When the alias was last resolved.")
    swaps: int
    rejected: str | None = Field(description="The version that is not tried again, such as `v7`.")


class Health(Ready):
    """Everything that is known about this instance."""

    check: Check | None = None
    refresh: Refresh | None = Field(default=None, description="Null where MODEL_REFRESH_SECONDS is not set.")
    waiting: int = Field(description="Items in line or being predicted.")
    open_requests: int
    uptime_seconds: float
    start_seconds: dict[str, float] = Field(description="What the parts of the start took.")
    inference_log: dict[str, Any] = Field(description="The inference log's state and counters.")
    revision: str | None
    versions: dict[str, str] = Field(
        description="Of this service, Python and the libraries installed beside it."
    )


class Limits(BaseModel):
    """What a request may ask for."""

    body_bytes: int
    texts: int
    text_characters: int
    waiting: int
    waiting_characters: int
    timeout_seconds: float


class ModelDescription(ModelIdentity):
    """The model that is being served."""

    source: Literal["wandb", "local", "embedded"]
    artifact: str | None = Field(description="The registry's full name, such as `acme/reviews/sentiment:v7`.")
    labels: list[str]
    task: str | None
    loader: str = Field(description="The class that loaded it.")
    preprocessing: dict[str, Any]
    training: dict[str, Any]
    metrics: dict[str, Any]
    check: Check | None
    limits: Limits
    predictor: dict[str, Any] = Field(description="What the predictor tells about itself.")


class Index(BaseModel):
    """What is where."""

    name: str
    version: str
    links: dict[str, str]
