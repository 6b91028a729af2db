"""All settings of the service, read once from the environment and ``.env``, in that order of precedence."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from app.core.errors import ConfigurationError
from app.core.values import Keys, Origins, Secret, Trimmed

EMBEDDED_MODEL_DIR = Path(__file__).resolve().parents[2] / "ml" / "model" / "embedded"

_ARTIFACT_NAME = re.compile(r"[A-Za-z0-9._-]+")
_WEIGHTS_SUFFIX = re.compile(r"\.(pkl|joblib|onnx|keras|h5)$", re.IGNORECASE)


class Settings(BaseSettings):
    """One instance's configuration. Field names in upper case are the variables' names."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    model_source: Literal["auto", "wandb", "local", "embedded"] = "auto"
    """Where the model comes from. `auto`: the registry when PROJECT_NAME is set, else the embedded model."""

    local_model_dir: Path = Path("./ml/model/")
    """Where pulled models are kept, as NAME/VERSION/; with MODEL_SOURCE=local, where the model lies."""

    baked_model_dir: Path | None = None
    """A folder like LOCAL_MODEL_DIR that is only read: a pinned version that lies there is not pulled."""

    local_model_name: str = "sentiment"
    """The artifact's name in the registry, and the file or folder under LOCAL_MODEL_DIR."""

    model_version: str = "latest"
    """Alias (`latest`, `production`) or version (`v7`) in the registry."""

    model_digest: str | None = None
    """If set, the digest that the loaded model must have; anything else stops the start."""

    model_loader: str = "auto"
    """`onnx`, `transformers`, `keras`, `joblib`, `auto`, or `package.module:Class` for a class of one's own."""

    model_parameters: Annotated[dict[str, Any], NoDecode] = Field(default_factory=dict)
    """A JSON object that is handed to the model class."""

    model_max_bytes: int = Field(default=5_368_709_120, ge=1)
    """Largest artifact, and largest content of an archive in it; a larger one is refused before it is read."""

    pickle_version_skew: Literal["warn", "refuse"] = "warn"
    """Whether a pickle of another library version is served with a warning, or stops the start."""

    model_refresh_seconds: float = Field(default=0, ge=0, le=604_800)
    """How often an unpinned server looks whether its alias names another model, and swaps; 0: never."""

    predict_method: str = "predict"
    """The method to call on a loaded keras or joblib object."""

    project_name: str | None = None
    """The W&B project of the model and of the inferences; `wandb-registry-…` names a registry."""

    inference_project_name: str | None = None
    """The W&B project of the inferences where it is not PROJECT_NAME (a registry holds no runs)."""

    wandb_entity: str | None = None
    """The W&B team or user; the key's default entity where unset."""

    wandb_api_key: Secret = None
    """W&B's API key. Without it inferences are kept in W&B's offline format, to be synced later."""

    wandb_base_url: str | None = None
    """Address of a W&B server of one's own."""

    registry_timeout_seconds: float = Field(default=300, gt=0, le=3600)
    """How long resolving and downloading a model may take in all."""

    state_dir: Path = Path("./.marquee/")
    """A writable folder for what W&B's client keeps (runs, cache, staging) and for the inference log."""

    host: str = "127.0.0.1"
    """Address to listen on."""

    port: int = Field(default=8080, ge=0, le=65535)
    """Port to listen on; 0 takes a free one and logs it."""

    workers: int = Field(default=1, ge=1, le=64)
    """Processes that serve; each holds the model once more."""

    keep_alive_seconds: int = Field(default=620, ge=1, le=86_400)
    """How long a connection may idle; longer than the proxy's time, so that the proxy is the one to close it."""

    api_keys: Keys = None
    """Keys with commas between them; set, everything but /health/live and /health/ready needs one."""

    cors_origins: Origins = None
    """Origins whose pages may ask from a browser, with commas between them; `*` for any."""

    root_path: str = ""
    """Path under which a proxy serves this app, such as `/sentiment`."""

    docs: bool = True
    """Whether `/docs` and `/openapi.json` are served."""

    predict_by_get: bool = True
    """Whether GET /predict?text= is served; request logs keep addresses, so switch it off for private texts."""

    inference_threads: int = Field(default_factory=lambda: len(os.sched_getaffinity(0)), ge=1, le=256)
    """Cores that one prediction may use; all of the process's by default."""

    max_body_bytes: int = Field(default=1_048_576, ge=1_024)
    """Largest request body, counted while it is read; more gets 413."""

    max_text_characters: int = Field(default=100_000, ge=1)
    """Longest text; more gets 422."""

    max_texts: int = Field(default=128, ge=1)
    """Most items in one request; more gets 413."""

    max_waiting: int = Field(default=256, ge=1)
    """Most items waiting for a worker; more gets 429 at once."""

    max_waiting_characters: int = Field(default=2_000_000, ge=1)
    """Most characters (numbers, for a table) waiting for a worker; more gets 429 at once."""

    request_timeout_seconds: float = Field(default=30, gt=0, le=3600)
    """How long a prediction may take, waiting included; then 504."""

    shutdown_seconds: float = Field(default=8, gt=0, le=600)
    """Time to end open requests and the inference log after SIGTERM; Cloud Run allows 10 s in all."""

    inference_log: bool = True
    """Whether inferences are logged to W&B."""

    inference_log_queue: int = Field(default=10_000, ge=1)
    """Rows that may wait in memory where the disk does not take them; further ones are dropped and counted."""

    inference_log_start_seconds: float = Field(default=10, gt=0, le=600)
    """How long opening the W&B run may take before another try."""

    inference_log_spool_mb: int = Field(default=256, ge=1)
    """Megabytes on disk for rows that W&B is not known to have; further rows are dropped and counted."""

    inference_log_confirm_seconds: float = Field(default=60, gt=0, le=3600)
    """How often W&B is asked what it has, so that the spool can give it up."""

    inference_log_rows_per_minute: int = Field(default=900, ge=1, le=1_000)
    """Rows of the run's history in any minute; above it inferences go to W&B in compressed files."""

    inference_log_batch_seconds: float = Field(default=120, gt=0, le=3600)
    """How long such a file collects inferences."""

    inference_log_sample: float = Field(default=1, ge=0, le=1)
    """Share of the inferences that is logged; all are counted."""

    inference_log_wait_seconds: float = Field(default=0, ge=0, le=60)
    """How long a reply waits for W&B to have its row, where the CPU is taken away after the reply."""

    log_text: Literal["masked", "hash", "none", "full"] = "masked"
    """What the inference log keeps of a text: e-mail addresses, phone and card numbers masked; HMAC; nothing; all."""

    log_text_characters: int = Field(default=1_000, ge=0)
    """Longest text in the inference log; the rest is cut."""

    log_hash_key: Secret = None
    """Key of the HMAC for LOG_TEXT=hash; without it each instance draws its own."""

    feedback_key: Secret = None
    """Signs the ids of predictions; share it between instances, else each draws its own and refuses others' ids."""

    feedback_days: int = Field(default=30, ge=1, le=3650)
    """How long after a prediction its feedback is taken."""

    drift_window: int = Field(default=200, ge=50, le=100_000)
    """Predictions that are compared with the model's reference profile."""

    drift_minimum: int = Field(default=50, ge=20)
    """Predictions below which nothing is said about drift."""

    standard_latency_ms: float = Field(default=1_000, gt=0)
    """Latency that 99 % of the requests for predictions are to stay below, over five minutes."""

    standard_error_share: float = Field(default=0.01, ge=0, le=1)
    """Share of the requests for predictions that may fail by fault of the server, over five minutes."""

    standard_accuracy: float = Field(default=0.85, ge=0, le=1)
    """Share of right answers that the last 500 predictions with feedback are held to."""

    pages: bool = True
    """Whether the page to try texts and `/monitor`, which shows the last ones as LOG_TEXT says, are served."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severity of the server's own log."""

    log_format: Literal["auto", "text", "json"] = "auto"
    """`json` is Cloud Logging's form; `auto` takes it where K_SERVICE is set."""

    k_service: str | None = None
    """Set by Cloud Run and Knative: the service's name."""

    k_revision: str | None = None
    """Set by Cloud Run and Knative: the revision's name; groups the W&B runs."""

    google_cloud_project: str | None = None
    """The Google Cloud project, for the trace field of log lines."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Trim what the environment and ``.env`` give before anything is merged: an empty one hides nothing."""
        return init_settings, Trimmed(env_settings), Trimmed(dotenv_settings)

    @model_validator(mode="before")
    @classmethod
    def _parse_parameters(cls, values: Any) -> Any:
        raw = values.get("model_parameters") if isinstance(values, dict) else None
        if isinstance(raw, str):
            import json

            try:
                parsed = json.loads(raw)
            except ValueError:
                parsed = None
            if not isinstance(parsed, dict):
                raise ValueError('MODEL_PARAMETERS must be a JSON object such as {"threshold": 0.5}')
            return {**values, "model_parameters": parsed}
        return values

    @model_validator(mode="after")
    def _check(self) -> "Settings":
        if not _ARTIFACT_NAME.fullmatch(self.local_model_name) or self.local_model_name.startswith("."):
            raise ValueError("LOCAL_MODEL_NAME must be a plain name: letters, digits, '.', '_', '-'")
        if not _ARTIFACT_NAME.fullmatch(self.model_version) or self.model_version.startswith("."):
            raise ValueError("MODEL_VERSION must be an alias or a version such as v7")
        if self.model_refresh_seconds:
            self._check_refresh()
        return self

    def _check_refresh(self) -> None:
        if self.model_refresh_seconds < 1:
            raise ValueError("MODEL_REFRESH_SECONDS must be 0 or at least 1: each look asks W&B")
        if self.source != "wandb":
            raise ValueError("MODEL_REFRESH_SECONDS follows an alias of the registry: set PROJECT_NAME too")
        if self.pinned or self.model_digest:
            raise ValueError(
                "MODEL_REFRESH_SECONDS follows an alias, and MODEL_VERSION=vN or MODEL_DIGEST pins one version: "
                "set one or the other"
            )

    @property
    def artifact_name(self) -> str:
        """The name in the registry: LOCAL_MODEL_NAME without an ending such as ``.pkl``."""
        return _WEIGHTS_SUFFIX.sub("", self.local_model_name)

    @property
    def source(self) -> Literal["wandb", "local", "embedded"]:
        """MODEL_SOURCE with `auto` decided."""
        if self.model_source != "auto":
            return self.model_source
        return "wandb" if self.project_name else "embedded"

    @property
    def inference_project(self) -> str | None:
        """The W&B project that inferences are logged to; None where none is named."""
        if self.inference_project_name:
            return self.inference_project_name
        if self.project_name and not self.project_name.startswith("wandb-registry-"):
            return self.project_name
        return None

    @property
    def pinned(self) -> bool:
        """Whether MODEL_VERSION names one version (``v7``) and not an alias that may move."""
        return re.fullmatch(r"v\d+", self.model_version) is not None


def load_settings(**overrides: Any) -> Settings:
    """Read the settings.

    Raises:
        ConfigurationError: a value is not acceptable; names the variable, never the value.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_input=False, include_url=False, include_context=False):
            name = ".".join(str(part) for part in problem["loc"]).upper()
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{name}: {message}" if name else message)
        raise ConfigurationError("; ".join(lines)) from None
