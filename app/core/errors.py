"""The exceptions of the service, by whose fault they are. `app.api.errors` turns them into replies."""


class MarqueeError(Exception):
    """Root of all errors that this service raises on purpose; the message is meant for people."""


class StartupError(MarqueeError):
    """The service cannot serve; the process ends with one plain line and a non-zero exit code."""


class ConfigurationError(StartupError):
    """A setting is missing, malformed or contradicts another one; the message names it."""


class RegistryError(StartupError):
    """The model's files cannot be had. Subclasses say why, since each needs another remedy."""


class MissingKeyError(RegistryError):
    """The registry is the source and no API key is set."""


class WrongKeyError(RegistryError):
    """W&B refused the API key."""


class UnreachableError(RegistryError):
    """W&B did not answer, or not in time."""


class PermissionDeniedError(RegistryError):
    """The key is right but may not read this project."""


class ProjectNotFoundError(RegistryError):
    """The entity or project does not exist."""


class ArtifactNotFoundError(RegistryError):
    """The collection, alias or version does not exist."""


class ArtifactTypeError(RegistryError):
    """The artifact is not of type ``model``."""


class NotCommittedError(RegistryError):
    """The artifact's upload has not finished."""


class ArtifactContentError(RegistryError):
    """The artifact holds what is not served: references to elsewhere, or names that leave its folder."""


class DigestMismatchError(RegistryError):
    """Files differ from the manifest, or the model from ``MODEL_DIGEST``."""


class StorageError(RegistryError):
    """The disk is full, or a folder is missing or cannot be written."""


class ModelLoadError(StartupError):
    """The files are there but are not what the loader needs."""


class GoldenMismatchError(StartupError):
    """The loaded model does not answer its golden examples as its exporter measured."""


class RequestError(MarqueeError):
    """A single request is not answered with a prediction; the message goes to the client."""


class UnreadableError(RequestError):
    """The body is no JSON."""


class SlowBodyError(RequestError):
    """The body did not arrive in time."""


class TooLargeError(RequestError):
    """The body or a list in it is over the limit."""


class UnsupportedMediaTypeError(RequestError):
    """The body has a content type that is not JSON."""


class InvalidInputError(RequestError):
    """Well-formed but not acceptable: blank text, wrong number of features, …

    Attributes:
        position: which item of a list, from 0; None for a single one.
    """

    def __init__(self, message: str, position: int | None = None) -> None:
        """Say what is wrong, and with which item of a list."""
        super().__init__(message)
        self.position = position


class InvalidFieldsError(InvalidInputError):
    """Well-formed but not what the model's request class takes.

    Attributes:
        fields: the path and the reason of each field that was refused.
    """

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        """Say what is wrong with which fields."""
        path, message = fields[0] if fields else ("", "not acceptable")
        more = f" (and {len(fields) - 1} more)" if len(fields) > 1 else ""
        super().__init__(f"{path}: {message}{more}" if path else f"{message}{more}")
        self.fields = fields


class UnknownIdError(RequestError):
    """Feedback for an id that no instance with this key issued."""


class ExpiredIdError(RequestError):
    """Feedback for a prediction that is too old."""


class UnauthorizedError(RequestError):
    """No API key, or a wrong one."""


class OverloadedError(RequestError):
    """Too much is waiting already.

    Attributes:
        retry_after: seconds after which another try makes sense.
    """

    def __init__(self, message: str, retry_after: int = 1) -> None:
        """Say what is full."""
        super().__init__(message)
        self.retry_after = retry_after


class NotReadyError(RequestError):
    """No model is loaded yet, or the service is stopping."""


class DeadlineError(RequestError):
    """The prediction was not there in time."""


class PredictionFailedError(RequestError):
    """The model failed on an acceptable input; the cause is in the log, not in the reply."""
