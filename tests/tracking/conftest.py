"""A project in a temporary folder whose MLflow database is ready: creating one takes seconds, copying it does not."""

import os
import shutil
from pathlib import Path

import pytest

from minimagen.config import Params, load_params
from minimagen.tracking.stage import TrackedStage, tracked_stage


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without experiments of ours."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow.tracking import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, its path with a space in it, that is tracked by default."""
    monkeypatch.setenv("MINIMAGEN_TRACKING", "on")
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_STAGE", "MINIMAGEN_FLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "a project"
    folder.mkdir()
    return folder


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's client asks again at once, also in processes started by the test."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")


@pytest.fixture
def tracked_project(project: Path, empty_database: Path) -> Path:
    """The project with a database."""
    shutil.copy(empty_database, project / "mlflow.db")
    return project


@pytest.fixture
def params(checkout: Path) -> Params:
    """The parameters of the demo."""
    return load_params(checkout / "experiments" / "demo.yaml")


class Stages:
    """Opens stages of one cascade in a project."""

    def __init__(self, root: Path, params: Params) -> None:
        self.root = root
        self.params = params

    def train(self, name: str = "base", *, is_live: bool = False) -> TrackedStage:
        folder = self.root / "runs" / "train" / f"{name}-0123"
        return tracked_stage(
            self.root, self.params, stage="train", name=name, run_folder=folder, fingerprint="0123", is_live=is_live
        )

    def evaluate(self) -> TrackedStage:
        folder = self.root / "runs" / "evaluate" / "4567"
        return tracked_stage(
            self.root, self.params, stage="evaluate", name=None, run_folder=folder, fingerprint="4567", is_live=False
        )


@pytest.fixture
def stages(project: Path, params: Params) -> Stages:
    """Opens stages of the demo in ``project``."""
    return Stages(project, params)
