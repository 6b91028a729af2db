"""The servers that are compared, each with what it needs and how it is asked."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ENGINE = ("onnxruntime==1.32.0", "tokenizers==0.22.2", "scikit-learn==1.9.1", "joblib==1.6.0")
"""What runs the models, the same in every environment; numpy is what the peer allows."""


@dataclass(frozen=True)
class Peer:
    """A server.

    Attributes:
        name: as tables show it; also its environment's folder.
        requirements: what its environment holds beside `ENGINE`; empty: it runs in this one.
        path, body, positive: where it is asked, with what, and where the probability stands in its reply.
        batches: how it batches by itself; empty where it cannot.
        python: what its environment is made with.
        alone: what it is asked with when it does not batch, where that differs from `body`.
        missing: why it cannot be compared, where that is known.
        processes: whether it can run several with the model in each.
    """

    name: str
    requirements: tuple[str, ...]
    path: str
    body: Callable[[str], Any]
    positive: Callable[[Any], float]
    batches: str = ""
    python: str = sys.executable
    alone: Callable[[str], Any] | None = None
    missing: str = ""
    processes: bool = True

    def content(self, text: str, batching: bool) -> Any:
        """Return what the peer is asked with."""
        return self.body(text) if batching or self.alone is None else self.alone(text)


def _text(text: str) -> dict[str, Any]:
    return {"text": text}


def _instances(text: str) -> dict[str, Any]:
    return {"instances": [text]}


def _tensor(*shape: int) -> Callable[[str], dict[str, Any]]:
    def body(text: str) -> dict[str, Any]:
        return {"inputs": [{"name": "text", "shape": list(shape), "datatype": "BYTES", "data": [text]}]}

    return body


def _positive(reply: Any) -> float:
    return float(reply["positive"])


def _first_tensor(reply: Any) -> float:
    return float(reply["outputs"][0]["data"][0])


def _first_prediction(reply: Any) -> float:
    return float(reply["predictions"][0])


_V2 = "/v2/models/model/infer"

PEERS = (
    Peer("fastapi", (), "/predict", _text, _positive),
    # Its pool of processes ended by itself here.
    Peer(
        "mlserver", ("mlserver==1.7.1",), _V2, _tensor(1), _first_tensor, "up to 32 in 5 ms", processes=False
    ),
    Peer(
        "bentoml",
        ("bentoml==1.4.40",),
        "/predict",
        lambda text: {"texts": [text]},
        lambda reply: float(reply[0]),
        "up to 32, adaptive",
    ),
    Peer("litserve", ("litserve==0.2.19",), "/predict", _text, _positive, "up to 32 in 5 ms"),
    Peer("kserve", ("kserve==0.21.0",), "/v1/models/model:predict", _instances, _first_prediction),
    Peer("ray", ("ray[serve]==2.60.0",), "/predict", _text, _positive, "up to 32 in 5 ms"),
    # It loads the system's libpython: a Python that is linked with a shared library is needed, such as Debian's.
    Peer(
        "pytriton",
        ("nvidia-pytriton==0.7.0",),
        _V2,
        _tensor(1, 1),
        _first_tensor,
        "up to 32 in 2 ms",
        python="/usr/bin/python3.11",
        processes=False,
        alone=_tensor(1),
    ),
    Peer("mlflow", ("mlflow==3.17.2",), "/invocations", lambda text: {"inputs": [text]}, _first_prediction),
    Peer(
        "infinity",
        ("infinity-emb[server,torch]==0.0.78",),
        "/classify",
        lambda text: {"input": [text]},
        _positive,
        "always",
        missing="not tried: it reads Hugging Face checkpoints by PyTorch or optimum, not a graph with its tokenizer",
    ),
)
