import json
from pathlib import Path

import pytest

from flows.tracked_runs import TrackedRun, tracked_cascade
from minimagen.config import load_params
from minimagen.journal import Journal
from minimagen.tracking.flat import cascade_hash
from minimagen.tracking.record import StageRecord, cascade_folder, write_stage


def write_run(root: Path, stage: str, name: str, cascade: str, started_s: float) -> Path:
    """Writes what a stage leaves: who it was, its run in MLflow, a picture."""
    folder = root / "runs" / stage / f"{name}{cascade[:4]}"
    with Journal.open(folder / "journal.jsonl") as journal:
        journal.append("image", 1, {"path": "one.png", "key": "grid", "caption": ""})
    (folder / "one.png").write_bytes(b"a picture")
    write_stage(folder, StageRecord("run", stage, name, "scenes", cascade, "0123", started_s))
    (folder / "mlflow.json").write_text(json.dumps({"place": "project", "run_id": f"{stage}{name}"}))
    return folder


@pytest.fixture
def root(tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the demo's parameters and tracking on."""
    monkeypatch.setenv("MINIMAGEN_TRACKING", "on")
    (tmp_path / "params.yaml").symlink_to(checkout / "experiments/demo.yaml")
    return tmp_path


def test_runs_and_newest_picture_of_the_cascade_in_params_are_found(root: Path) -> None:
    cascade = cascade_hash(load_params(root / "params.yaml"))
    write_run(root, "train", "super", cascade, 2.0)
    write_run(root, "train", "base", cascade, 1.0)
    last = write_run(root, "evaluate", "", cascade, 3.0)
    write_run(root, "train", "base", "another-cascade", 9.0)
    whole = cascade_folder(root, cascade)
    whole.mkdir(parents=True)
    (whole / "mlflow.json").write_text(json.dumps({"place": "project", "run_id": "parent"}))

    found = tracked_cascade(root)

    assert found is not None
    assert found.run == TrackedRun(f"cascade {cascade[:6]}", "parent")
    assert [run.run_id for run in found.stages] == ["trainbase", "trainsuper", "evaluate"]
    assert found.picture == last / "one.png"


def test_without_tracking_only_the_picture_is_known(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIMAGEN_TRACKING", "off")
    folder = write_run(root, "evaluate", "", cascade_hash(load_params(root / "params.yaml")), 3.0)
    found = tracked_cascade(root)
    assert found is not None
    assert (found.run, found.stages, found.picture) == (None, (), folder / "one.png")


def test_other_parameters_describe_no_cascade(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("names: [one]\n")
    assert tracked_cascade(tmp_path) is None


def test_pages_are_those_of_the_tracking_server(monkeypatch: pytest.MonkeyPatch) -> None:
    assert TrackedRun("a", "f00").url == "http://127.0.0.1:5000/#/runs/f00"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5055/")
    assert TrackedRun("a", "f00").url == "http://127.0.0.1:5055/#/runs/f00"
