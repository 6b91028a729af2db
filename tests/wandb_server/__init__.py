"""A loopback W&B: a server that the real wandb client talks to in tests and on a developer's machine.

`WandbServer` is for tests in the same process; `python -m tests.wandb_server` runs one on its own.
"""

from .client_env import client_environment
from .faults import Fault
from .http import Call
from .records import Artifact, Collection, Run
from .server import DEFAULT_KEY, Lineage, WandbServer
from .state import StateError

__all__ = [
    "DEFAULT_KEY",
    "Artifact",
    "Call",
    "Collection",
    "Fault",
    "Lineage",
    "Run",
    "StateError",
    "WandbServer",
    "client_environment",
]
