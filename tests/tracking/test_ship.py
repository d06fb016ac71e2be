"""Every entry of every journal reaches MLflow once, whatever happened before."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from PIL import Image

from minimagen.tracking.runs import Tracker
from minimagen.tracking.ship import has_unshipped, ship_folder, ship_pending
from tests.simulators.tracker import Fault, TrackerSimulator
from tests.tracking.conftest import Stages

STEPS = range(10, 60, 10)


def train(stages: Stages, name: str = "base") -> Path:
    with stages.train(name) as stage:
        stage.params({"data_sha256": "ab12"})
        for step in STEPS:
            stage.metrics(step, {"loss": 1.0 / step, "grad_norm": 1.0})
        grid = stage.run_folder / "grid.png"
        Image.new("RGB", (8, 8)).save(grid)
        stage.image(50, "samples", grid, "sixteen captions")
        stage.finish({"val.loss": 0.25})
    return stage.run_folder


def run_of(client: MlflowClient, title: str) -> Run:
    experiment = client.get_experiment_by_name("scenes")
    assert experiment is not None
    runs = [
        run for run in client.search_runs([experiment.experiment_id]) if (run.info.run_name or "").startswith(title)
    ]
    assert len(runs) == 1
    return runs[0]


def curve(client: MlflowClient, run: Run, key: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, key)]


def test_a_run_finished_long_ago_is_shipped_whole(tracked_project: Path, stages: Stages) -> None:
    folder = train(stages)

    reports = ship_pending(tracked_project)

    assert [(report.folder, report.num_points, report.problem) for report in reports] == [(folder, 11, None)]
    client = Tracker(tracked_project).client
    run = run_of(client, "train base")
    assert run.info.status == "FINISHED"
    assert run.data.params["data_sha256"] == "ab12"
    assert run.data.tags["fingerprint"] == "0123"
    assert run.data.tags["data_sha256"] == "ab12"
    assert run.data.tags["dim"] == run.data.params["dim"]
    assert curve(client, run, "loss") == [(step, 1.0 / step) for step in STEPS]
    assert len(client.list_artifacts(run.info.run_id, "images")) == 2


def test_final_numbers_and_the_data_stand_on_the_cascade(tracked_project: Path, stages: Stages) -> None:
    train(stages)
    train(stages, "super")
    with stages.evaluate() as stage:
        stage.finish({"alignment.joint": 0.5})

    ship_pending(tracked_project)

    client = Tracker(tracked_project).client
    parent = run_of(client, "base")
    assert parent.data.metrics == {"base.val.loss": 0.25, "super.val.loss": 0.25, "alignment.joint": 0.5}
    assert parent.data.params["data_sha256"] == parent.data.tags["data_sha256"] == "ab12"
    compared = ("base.dim", "base.dim_mults", "super.dim", "super.dim_mults", "base.num_steps")
    assert {name: parent.data.tags[name] for name in compared} == {name: parent.data.params[name] for name in compared}
    assert client.get_experiment(parent.info.experiment_id).tags["data_sha256"] == "ab12"
    assert parent.info.status == "FINISHED"


def test_shipping_again_sends_nothing(tracked_project: Path, stages: Stages) -> None:
    folder = train(stages)
    before = has_unshipped(folder)
    ship_pending(tracked_project)
    after = has_unshipped(folder)

    assert [report.num_points for report in ship_pending(tracked_project)] == [0]
    assert (before, after) == (True, False)


def test_what_is_new_is_added_to_the_same_run(tracked_project: Path, stages: Stages) -> None:
    tracker = Tracker(tracked_project)
    with stages.train() as stage:
        stage.metrics(1, {"loss": 1.0})
        first = ship_folder(stage.run_folder, tracker)
        status = run_of(tracker.client, "train").info.status
        stage.metrics(2, {"loss": 0.5})
        second = ship_folder(stage.run_folder, tracker)

    assert (first.num_points, second.num_points, status) == (1, 1, "RUNNING")
    assert curve(tracker.client, run_of(tracker.client, "train"), "loss") == [(1, 1.0), (2, 0.5)]


def test_steps_trained_again_after_a_rewind_appear_once(tracked_project: Path, stages: Stages) -> None:
    tracker = Tracker(tracked_project)
    with stages.train() as stage:
        for step in (1, 2, 3):
            stage.metrics(step, {"loss": 1.0 / step})
        ship_folder(stage.run_folder, tracker)
    with stages.train() as stage:
        stage.journal.rewind(1)
        for step in (2, 3, 4):
            stage.metrics(step, {"loss": 1.0 / step})

    ship_pending(tracked_project)

    run = run_of(tracker.client, "train")
    assert curve(tracker.client, run, "loss") == [(step, 1.0 / step) for step in (1, 2, 3, 4)]
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), "KILLED"), (SystemExit(143), "KILLED"), (OSError("disk"), "FAILED")]
)
def test_the_status_says_how_it_ended(tracked_project: Path, stages: Stages, error: BaseException, status: str) -> None:
    with pytest.raises(type(error)), stages.train():
        raise error

    ship_pending(tracked_project)

    client = Tracker(tracked_project).client
    assert run_of(client, "train").info.status == status
    assert run_of(client, "base").info.status == status


def test_a_deleted_database_is_filled_again(tracked_project: Path, stages: Stages, empty_database: Path) -> None:
    train(stages)
    ship_pending(tracked_project)
    (tracked_project / "mlflow.db").write_bytes(empty_database.read_bytes())

    reports = ship_pending(tracked_project)

    assert [report.num_points for report in reports] == [11]


def test_a_moved_project_goes_on_in_the_same_run(tracked_project: Path, stages: Stages) -> None:
    train(stages)
    ship_pending(tracked_project)
    moved = tracked_project.rename(tracked_project.with_name("moved"))

    assert [report.num_points for report in ship_pending(moved)] == [0]
    assert run_of(Tracker(moved).client, "train").info.status == "FINISHED"


def test_a_corrupt_journal_is_reported_and_others_are_shipped(tracked_project: Path, stages: Stages) -> None:
    broken, whole = train(stages), train(stages, "super")
    journal = broken / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"loss"', b'"lass"', 1))

    reports = {report.folder: report.problem for report in ship_pending(tracked_project)}

    assert "journal.jsonl: line" in str(reports[broken])
    assert reports[whole] is None


def test_a_file_that_is_no_database_is_reported(project: Path, stages: Stages) -> None:
    train(stages)
    (project / "mlflow.db").write_text("not a database")

    (report,) = ship_pending(project)

    assert report.is_unreachable
    assert "file is not a database" in str(report.problem)


def test_nothing_is_shipped_where_tracking_is_off(
    project: Path, stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(stages)
    monkeypatch.setenv("MINIMAGEN_TRACKING", "off")

    assert ship_pending(project) == []
    assert not (project / "mlflow.db").exists()


def test_a_journal_that_says_not_whose_it_is_is_reported(tracked_project: Path, stages: Stages) -> None:
    folder = train(stages)
    (folder / "stage.json").unlink()

    (report,) = ship_pending(tracked_project)

    assert "says not whose it is" in str(report.problem)


def test_a_missing_picture_holds_nothing_up(tracked_project: Path, stages: Stages) -> None:
    folder = train(stages)
    (folder / "grid.png").unlink()

    assert [report.problem for report in ship_pending(tracked_project)] == [None]


def test_a_dead_server_is_asked_once(
    project: Path, stages: Stages, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    train(stages)
    train(stages, "super")
    with TrackerSimulator() as gone:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", gone.url.replace("//", "//user:secret@"))

    first, second = ship_pending(project)

    assert first.is_unreachable
    assert "secret" not in str(first.problem)
    assert str(second.problem).startswith("not tried")


def losing(path: str, nth: int) -> Fault | None:
    return "lose answer" if path in ("runs/log-batch", "runs/create") and nth % 3 == 0 else None


def refusing(path: str, nth: int) -> Fault | None:
    return "refuse" if nth % 2 == 0 else None


@pytest.mark.parametrize("fault", [losing, refusing])
def test_a_flapping_server_gets_every_point_once(
    project: Path,
    stages: Stages,
    monkeypatch: pytest.MonkeyPatch,
    impatient: None,
    fault: Callable[[str, int], Fault | None],
) -> None:
    with stages.train() as stage:
        for step in range(3500):
            stage.metrics(step, {"loss": 1.0 / (1 + step)})

    with TrackerSimulator(fault) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        reports = [ship_pending(project) for _ in range(6)]

    assert reports[-1][0].problem is None
    assert server.stage_points("loss") == [(step, 1.0 / (1 + step)) for step in range(3500)]
    assert len(server.store.runs) == 2
