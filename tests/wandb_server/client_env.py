"""The environment of a wandb client that must touch nothing outside its own folder."""

from pathlib import Path

from .server import WandbServer


def client_environment(server: WandbServer, folder: Path, role: str = "client") -> dict[str, str]:
    """Variables that point a client at the server and all of its folders under `folder/role`.

    Give a publisher and a consumer different roles: a client that uploaded a file finds it in its own cache
    and never downloads it. Reference for the names: the client's documentation of environment variables.
    """
    home = folder / role
    places = {
        "WANDB_DIR": home / "runs",
        "WANDB_CACHE_DIR": home / "cache",
        "WANDB_DATA_DIR": home / "data",
        "WANDB_CONFIG_DIR": home / "config",
        "WANDB_ARTIFACT_DIR": home / "artifacts",
    }
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    return {name: str(place) for name, place in places.items()} | {
        "NETRC": str(home / "netrc"),
        "WANDB_BASE_URL": server.url,
        "WANDB_API_KEY": server.api_key,
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
    }
