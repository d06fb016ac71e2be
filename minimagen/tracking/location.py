"""Where tracking goes: the project, its MLflow database, and whether any of it is wanted.

Facts of the machine, from the environment; they never change a result. Imports no mlflow.
"""

import importlib.util
import os
from pathlib import Path

from minimagen.files import sha256_bytes

_SQLITE = "sqlite:///"


def project_root(root: Path = Path()) -> Path:
    """Returns the absolute folder that holds runs/ and mlflow.db.

    Inside a command that DVC runs it is DVC's repository: DVC may work in a temporary copy, which lacks ignored files.
    """
    return Path(os.environ.get("DVC_ROOT") or root).resolve()


def tracking_uri(root: Path) -> str:
    """Returns MLflow's address: MLFLOW_TRACKING_URI, else a SQLite file in the project, always absolute."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{root.resolve() / 'mlflow.db'}"


def artifact_location(root: Path) -> str | None:
    """Returns where a new experiment keeps its files: beside a SQLite database, None where a server decides."""
    database = tracking_uri(root).removeprefix(_SQLITE)
    return None if database == tracking_uri(root) else (Path(database).resolve().parent / "mlruns").as_uri()


def place_name() -> str:
    """Returns a name of the address that reveals no password and survives moving the project."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    return sha256_bytes(uri.encode())[:16] if uri else "project"


def is_tracking_on() -> bool:
    """Returns False where MINIMAGEN_TRACKING is "off"."""
    return os.environ.get("MINIMAGEN_TRACKING", "on").lower() != "off"


def is_anything_tracked(root: Path) -> bool:
    """Returns whether there is a tracking server to ask, or a database of the project's own; creates none."""
    return tracking_uri(root) != f"{_SQLITE}{root.resolve() / 'mlflow.db'}" or (root / "mlflow.db").is_file()


def has_mlflow() -> bool:
    """Returns whether mlflow is installed, without importing it."""
    return importlib.util.find_spec("mlflow") is not None
