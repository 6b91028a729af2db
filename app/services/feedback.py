"""Ids of predictions that carry what they are about, signed, so that truth can be joined without a look-up.

Whichever instance gets the feedback reads prediction, confidence and model version from the id itself, and the
signature says that an instance with the same key issued it.
"""

import base64
import binascii
import hashlib
import hmac
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from loguru import logger

from app.core.config import Settings
from app.core.errors import ExpiredIdError, InvalidFieldsError, UnknownIdError
from app.core.unique import unique_bytes

_FORMAT = 2
_NONCE_BYTES = 9
_TIME_BYTES = 5
_SIGNATURE_BYTES = 16
_KEY_BYTES = 32
_HEAD_BYTES = 1 + _NONCE_BYTES + _TIME_BYTES + 2
_LONGEST_ID = 400
_LONGEST_NAME = 80
_NO_CONFIDENCE = 0xFFFF
_REMEMBERED = 100_000
"""Ids that feedback came for; of an older one a repetition would be counted again."""


@dataclass(frozen=True, slots=True)
class IssuedId:
    """What an id says.

    Attributes:
        nonce: makes it unique.
        issued: seconds since the epoch.
        label: what was predicted; empty for a model without labels.
        confidence: the probability of it to 1/65,534; None for a model that gives none.
        version: of the model.
    """

    nonce: bytes
    issued: int
    label: str
    confidence: float | None
    version: str


class PredictionIds:
    """Issues and reads ids."""

    def __init__(self, settings: Settings) -> None:
        """Take the key that instances share, or draw one that only this instance knows."""
        key = settings.feedback_key
        self.shared = key is not None
        secret = key.get_secret_value().encode() if key else unique_bytes(_KEY_BYTES)
        self._key = hashlib.blake2b(secret, digest_size=_KEY_BYTES, person=b"feedback-id").digest()
        self._seconds = settings.feedback_days * 86_400

    def issue(self, label: str | None, confidence: float | None, version: str) -> str:
        """Return an id for one prediction; letters, digits, ``-`` and ``_``. Takes microseconds."""
        names = [_short(label or ""), _short(version)]
        steps = _NO_CONFIDENCE
        if confidence is not None:
            steps = round(min(max(confidence, 0.0), 1.0) * (_NO_CONFIDENCE - 1))
        content = b"".join(
            (
                bytes((_FORMAT,)),
                unique_bytes(_NONCE_BYTES),
                int(time.time()).to_bytes(_TIME_BYTES, "big"),
                steps.to_bytes(2, "big"),
                *(bytes((len(name),)) + name for name in names),
            )
        )
        signed = content + self._sign(content)
        return base64.urlsafe_b64encode(signed).rstrip(b"=").decode("ascii")

    def read(self, text: str) -> IssuedId:
        """Return what an id says.

        Raises:
            InvalidFieldsError: it has not the form of an id.
            UnknownIdError: another key signed it, or it was changed.
            ExpiredIdError: it is older than FEEDBACK_DAYS.
        """
        content, signature = _taken_apart(text)
        if not hmac.compare_digest(self._sign(content), signature):
            raise UnknownIdError(
                "this id was not issued by this service"
                + (
                    ""
                    if self.shared
                    else "; instances know each other's ids only where they share a FEEDBACK_KEY"
                )
            )
        steps = int.from_bytes(content[_HEAD_BYTES - 2 : _HEAD_BYTES], "big")
        label, version = _names(content[_HEAD_BYTES:])
        issued = IssuedId(
            nonce=content[1 : 1 + _NONCE_BYTES],
            issued=int.from_bytes(content[1 + _NONCE_BYTES : 1 + _NONCE_BYTES + _TIME_BYTES], "big"),
            label=label,
            confidence=None if steps == _NO_CONFIDENCE else steps / (_NO_CONFIDENCE - 1),
            version=version,
        )
        if time.time() - issued.issued > self._seconds:
            raise ExpiredIdError(
                f"this id is older than {self._seconds // 86_400} days, for which feedback is taken"
            )
        return issued

    def _sign(self, content: bytes) -> bytes:
        # A keyed BLAKE2b is a signature like HMAC's, and short ones are made without letting go of the interpreter.
        return hashlib.blake2b(content, digest_size=_SIGNATURE_BYTES, key=self._key).digest()


class RowLog(Protocol):
    """Where the rows of feedback go."""

    def record(self, row: dict[str, Any]) -> None:
        """Log one row."""


class Listener(Protocol):
    """Who learns of each truth."""

    def judge(self, truth: str, issued: IssuedId) -> None:
        """Count a prediction and its truth."""

    def count_repeated(self) -> None:
        """Count feedback that was there before."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A truth and the prediction it belongs to; `counted` is False for a repetition."""

    issued: IssuedId
    truth: str
    counted: bool


class Feedback:
    """Joins truths to predictions."""

    def __init__(self, ids: PredictionIds, log: RowLog, listener: Listener) -> None:
        """Bring the parts together."""
        self._ids = ids
        self._log = log
        self._listener = listener
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._warned = ids.shared

    def join(self, prediction_id: str, label: str, known_labels: tuple[str, ...]) -> Joined:
        """Join a label to a prediction, count it once, and log it as a row of kind ``feedback``.

        Args:
            prediction_id: the ``id`` of a prediction.
            label: the truth; upper and lower case do not matter.
            known_labels: those of the model that is served now.

        Raises:
            RequestError: the id is malformed, unknown or expired, or the label is none of the model's.
        """
        issued = self._ids.read(prediction_id)
        truth = _label(label, issued, known_labels)
        if not self._warned:
            self._warned = True
            logger.warning("FEEDBACK_KEY is not set: feedback for predictions of other instances is refused")
        if issued.nonce in self._seen:
            self._seen.move_to_end(issued.nonce)
            self._listener.count_repeated()
            return Joined(issued, truth, counted=False)
        self._seen[issued.nonce] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        self._listener.judge(truth, issued)
        self._log.record(
            {
                # Derived from the prediction's, so that a truth that came to two instances is one row when it is read.
                "id": f"{prediction_id}-feedback",
                "kind": "feedback",
                "prediction_id": prediction_id,
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "truth": truth,
                "prediction": issued.label,
                "confidence": issued.confidence,
                "right": truth == issued.label,
                "model_version": issued.version,
            }
        )
        return Joined(issued, truth, counted=True)


def _label(given: str, issued: IssuedId, known_labels: tuple[str, ...]) -> str:
    if not issued.label:
        raise InvalidFieldsError([("id", "its model predicts no label that a truth could be compared with")])
    known = {label.casefold(): label for label in (*known_labels, issued.label)}
    truth = known.get(given.strip().casefold())
    if truth is None:
        raise InvalidFieldsError([("label", f"send one of {', '.join(sorted(set(known.values()))[:10])}")])
    return truth


def _short(name: str) -> bytes:
    """Return a name in at most 80 bytes, cut between characters."""
    return name.encode("utf-8", "replace")[:_LONGEST_NAME].decode("utf-8", "ignore").encode()


def _taken_apart(text: str) -> tuple[bytes, bytes]:
    malformed = InvalidFieldsError([("id", "send the id of a prediction as the reply gave it")])
    if not text.isascii() or len(text) > _LONGEST_ID:
        raise malformed
    try:
        signed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise malformed from None
    if len(signed) < _HEAD_BYTES + 2 + _SIGNATURE_BYTES or signed[0] != _FORMAT:
        raise malformed
    # Base64 has several spellings of one value, and each must be one id only.
    if base64.urlsafe_b64encode(signed).rstrip(b"=").decode("ascii") != text:
        raise malformed
    return signed[:-_SIGNATURE_BYTES], signed[-_SIGNATURE_BYTES:]


def _names(content: bytes) -> tuple[str, str]:
    first = content[0]
    label, rest = content[1 : 1 + first], content[1 + first :]
    return label.decode(), rest[1 : 1 + rest[0]].decode()
