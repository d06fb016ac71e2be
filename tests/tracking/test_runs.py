"""Runs are found again, never made twice, whoever asks and whatever was lost."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlflow.entities import Run, ViewType
from mlflow.tracking import MlflowClient

from minimagen.tracking.record import StageRecord, read_stage
from minimagen.tracking.runs import Tracker
from tests.tracking.conftest import Stages


def recorded(stages: Stages) -> tuple[StageRecord, Path]:
    with stages.train() as stage:
        pass
    record = read_stage(stage.run_folder)
    assert record is not None
    return record, stage.run_folder


def all_runs(client: MlflowClient) -> list[Run]:
    experiments = [experiment.experiment_id for experiment in client.search_experiments(view_type=ViewType.ALL)]
    return list(client.search_runs(experiments))


def test_a_stage_is_a_child_of_its_cascade(tracked_project: Path, stages: Stages) -> None:
    record, folder = recorded(stages)
    tracker = Tracker(tracked_project)

    runs = tracker.stage_run(record, folder)

    child, parent = tracker.client.get_run(runs.stage), tracker.client.get_run(runs.cascade)
    assert child.data.tags["mlflow.parentRunId"] == runs.cascade
    assert child.info.run_name == f"train base {record.cascade[:6]}"
    assert parent.data.params["base.dim"] == str(stages.params.unets["base"].unet.dim)
    assert len(parent.data.params) > 100
    experiment = tracker.client.get_experiment(parent.info.experiment_id)
    assert experiment.name == "scenes"
    assert "mlflow.sharedViewState.compare" in experiment.tags
    assert experiment.artifact_location == (tracked_project / "mlruns").as_uri()


def test_asking_again_finds_the_same_runs(tracked_project: Path, stages: Stages) -> None:
    record, folder = recorded(stages)

    first = Tracker(tracked_project).stage_run(record, folder)
    second = Tracker(tracked_project).stage_run(record, folder)

    assert first == second


def test_a_creation_whose_answer_was_lost_is_found(tracked_project: Path, stages: Stages) -> None:
    record, folder = recorded(stages)
    tracker = Tracker(tracked_project)
    first = tracker.stage_run(record, folder)
    (folder / "mlflow.json").unlink()
    (tracked_project / "runs" / "cascade" / record.cascade / "mlflow.json").unlink()

    assert tracker.stage_run(record, folder) == first
    assert len(all_runs(tracker.client)) == 2


def test_racing_stages_get_one_parent(tracked_project: Path, stages: Stages) -> None:
    record, _ = recorded(stages)
    trackers = [Tracker(tracked_project) for _ in range(4)]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda tracker: tracker.cascade_run(record), trackers))

    assert len(set(found)) == 1
    assert len(all_runs(trackers[0].client)) == 1


def test_a_deleted_experiment_comes_back(tracked_project: Path, stages: Stages) -> None:
    record, folder = recorded(stages)
    tracker = Tracker(tracked_project)
    tracker.stage_run(record, folder)
    tracker.client.delete_experiment(tracker.experiment("scenes"))

    again = Tracker(tracked_project).stage_run(record, folder)

    assert tracker.client.get_run(again.stage).info.lifecycle_stage == "active"
