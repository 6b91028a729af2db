"""What W&B's client is told when it opens a run of inferences, and which variables it must not find."""

from typing import Any

from app.services.inference_run import RunRequest

OTHER_VARIABLES = {
    f"WANDB_{name}"
    for name in (
        "API_KEY",
        "DISABLED",
        "FORK_FROM",
        "MODE",
        "RESUME",
        "RESUME_FROM",
        "RUN_ID",
        "SERVICE",
        "SWEEP_ID",
    )
}
"""Variables that belong to another run, or whose values the request itself carries."""

_CLIENT_SETTINGS: dict[str, Any] = {
    "silent": True,
    "quiet": True,
    "console": "off",
    "symlink": False,
    "disable_git": True,
    "disable_code": True,
    "save_code": False,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
    # The stream is retried for days, as by default, so that a run outlives an outage of any length; it is the writer
    # that bounds how long the end of a run may take. Waits of at most 20 s make the rows come soon after.
    "x_file_stream_timeout_seconds": 30,
    "x_file_stream_retry_wait_max_seconds": 20,
    "x_transaction_log_flush_interval": 1,
    # A stream that W&B refused is dead for good, and nothing else tells.
    "stop_on_fatal_error": True,
}


def opening(request: RunRequest) -> dict[str, Any]:
    """Return what the child process is told to open a run with; the key among it."""
    mode = "online" if request.online else "offline"
    return {
        "key": request.key,
        "artifact": request.artifact,
        "settings": _CLIENT_SETTINGS
        | {
            "init_timeout": request.open_seconds,
            "x_file_stream_transmit_interval": request.transmit_seconds,
        },
        "run": request.run | {"mode": mode},
    }
