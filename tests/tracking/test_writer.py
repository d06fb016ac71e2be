"""What a run holds already is not written into it again."""

import logging
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from PIL import Image

from minimagen.tracking.runs import Tracker
from minimagen.tracking.writer import RunWriter


@pytest.fixture
def client(tracked_project: Path) -> MlflowClient:
    return Tracker(tracked_project).client


@pytest.fixture
def run_id(client: MlflowClient, tracked_project: Path) -> str:
    experiment = client.create_experiment("scenes", artifact_location=(tracked_project / "mlruns").as_uri())
    return client.create_run(experiment).info.run_id


def steps(client: MlflowClient, run_id: str, key: str) -> list[int]:
    return [metric.step for metric in client.get_metric_history(run_id, key)]


def test_points_sent_again_are_left_out(client: MlflowClient, run_id: str) -> None:
    for last in (1500, 2500):
        writer = RunWriter(client, run_id)
        for step in range(last):
            writer.point("loss", 1.0, step, 100.0 + step)
        writer.flush()

    assert steps(client, run_id, "loss") == list(range(2500))
    assert writer.num_points == 1000


def test_a_second_point_of_a_step_is_left_out(client: MlflowClient, run_id: str) -> None:
    writer = RunWriter(client, run_id)
    writer.point("loss", 1.0, 5, 100.0)
    writer.point("loss", 2.0, 5, 101.0)
    writer.flush()

    assert [metric.value for metric in client.get_metric_history(run_id, "loss")] == [1.0]


def test_a_newer_summary_replaces_the_older(client: MlflowClient, run_id: str) -> None:
    for time_s, value in ((100.0, 0.123456789), (101.0, 0.5), (100.0, 0.123456789)):
        writer = RunWriter(client, run_id)
        writer.summary("base.loss", value, time_s)
        writer.flush()

    history = [metric.value for metric in client.get_metric_history(run_id, "base.loss")]
    assert history == [0.12346, 0.5]
    assert client.get_run(run_id).data.metrics["base.loss"] == 0.5


def test_a_changed_parameter_keeps_its_value_and_is_logged(
    client: MlflowClient, run_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    RunWriter(client, run_id).params({f"p{number}": number for number in range(250)})

    with caplog.at_level(logging.WARNING):
        RunWriter(client, run_id).params({"p1": 1, "p2": "other", "long": "x" * 9000})

    held = client.get_run(run_id).data.params
    assert (len(held), held["p1"], held["p2"], len(held["long"])) == (251, "1", "2", 6000)
    assert [record.getMessage() for record in caplog.records] == [f"run {run_id} keeps p2 = 2, it is now other"]


def test_names_are_made_acceptable(client: MlflowClient, run_id: str) -> None:
    writer = RunWriter(client, run_id)
    writer.point("loss [t<0.1]", 1.0, 1, 100.0)
    writer.flush()

    assert client.get_run(run_id).data.metrics == {"loss _t_0.1_": 1.0}


def test_a_picture_sent_twice_is_there_once(client: MlflowClient, run_id: str, tmp_path: Path) -> None:
    picture = tmp_path / "grid.png"
    Image.new("RGB", (600, 300), "red").save(picture)

    for _ in range(2):
        RunWriter(client, run_id).image(picture, "samples/base", "sixteen captions", 500, 100.0)

    names = [Path(item.path).name for item in client.list_artifacts(run_id, "images")]
    assert len(names) == 2
    assert all(name.startswith("samples~base+step+500+timestamp+100000+") for name in names)
    assert [item.path for item in client.list_artifacts(run_id, "captions")] == [
        "captions/samples~base-step-0000500.txt"
    ]
    assert client.get_run(run_id).data.tags["mlflow.loggedImages"] == "True"
