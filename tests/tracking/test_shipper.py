"""The shipper's process: it holds nothing up, dies with its stage, and a killed one has lost and doubled nothing."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from minimagen.tracking.runs import Tracker
from minimagen.tracking.ship import ship_pending
from minimagen.tracking.shipper import ShipperHandle, start_shipper
from tests.simulators.tracker import Fault, TrackerSimulator
from tests.tracking.conftest import Stages

NUM_STEPS = 2500
CURVE = [(step, 1.0 / (1 + step)) for step in range(NUM_STEPS)]

STAGE_THAT_DIES = """
import os, signal, sys
from pathlib import Path
from minimagen.config import load_params
from minimagen.tracking.stage import tracked_stage
params = load_params(Path("experiments/demo.yaml"))
folder = Path(sys.argv[1]) / "runs" / "train" / "base-0123"
stage = tracked_stage(
    Path(sys.argv[1]), params, stage="train", name="base", run_folder=folder, fingerprint="0123", is_live=True
)
stage.metrics(1, {"loss": 0.5})
while not (folder / "ship.json").exists():
    pass
print(stage._shipper.process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def train(stages: Stages) -> Path:
    with stages.train() as stage:
        for step, loss in CURVE:
            stage.metrics(step, {"loss": loss})
    return stage.run_folder


def steps_in(project: Path) -> list[int]:
    with contextlib.closing(sqlite3.connect(project / "mlflow.db", timeout=60)) as database:
        return [row[0] for row in database.execute("SELECT step FROM metrics WHERE key = 'loss' ORDER BY step")]


def shippers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "minimagen.tracking.shipper" in child.cmdline()]


def wait_for_fault(server: TrackerSimulator) -> None:
    assert server.was_hit.wait(timeout=60)


def test_a_live_stage_is_shipped_when_it_ends(
    tracked_project: Path, stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minimagen.tracking.stage.FINISH_TIMEOUT_S", 120.0)
    with stages.train(is_live=True) as stage:
        stage.metrics(1, {"loss": 0.5})
        stage.finish({"val.loss": 0.25})

    client = Tracker(tracked_project).client
    runs = client.search_runs(["1"], filter_string="tags.`minimagen.stage` = 'train'")
    assert [(run.info.status, run.data.metrics) for run in runs] == [("FINISHED", {"loss": 0.5, "val.loss": 0.25})]
    assert (stage.run_folder / "ship.json").exists()
    assert shippers() == []


@pytest.mark.parametrize("fault", ["hang", "lose answer"])
def test_a_shipper_killed_in_the_middle_has_lost_and_doubled_nothing(
    project: Path, stages: Stages, monkeypatch: pytest.MonkeyPatch, impatient: None, fault: Fault
) -> None:
    folder = train(stages)
    faults: dict[tuple[str, int], Fault] = {("runs/log-batch", nth): fault for nth in range(4, 20)}
    with TrackerSimulator(lambda path, nth: faults.get((path, nth))) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        handle = start_shipper(project, folder, interval_s=0.01)
        wait_for_fault(server)
        handle.process.kill()
        handle.process.communicate()
        faults.clear()
        server.wait_until_idle()
        num_resent = server.store.num_resent

        reports = ship_pending(project)

    assert [report.problem for report in reports] == [None]
    assert server.stage_points("loss") == CURVE
    assert server.store.num_resent == num_resent
    assert len(server.store.runs) == 2


@pytest.mark.long
def test_a_shipper_killed_while_it_fills_a_database_has_lost_and_doubled_nothing(
    tracked_project: Path, stages: Stages
) -> None:
    with stages.train() as stage:
        for step in range(12_000):
            stage.metrics(step, {"loss": 1.0 / (1 + step)})
    handle = start_shipper(tracked_project, stage.run_folder, interval_s=0.01)
    while len(steps_in(tracked_project)) == 0:
        with contextlib.suppress(subprocess.TimeoutExpired):
            assert handle.process.wait(timeout=0.02) is None
    handle.process.kill()
    handle.process.communicate()
    num_before = len(steps_in(tracked_project))

    ship_pending(tracked_project)

    assert 0 < num_before < 12_000
    assert steps_in(tracked_project) == list(range(12_000))


def test_a_hanging_server_neither_holds_up_the_stage_nor_its_end(
    project: Path, stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minimagen.tracking.stage.FINISH_TIMEOUT_S", 0.5)
    with TrackerSimulator(lambda path, nth: "hang") as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        with stages.train(is_live=True) as stage:
            stage.metrics(0, {"loss": 1.0})
            assert stage._shipper is not None
            wait_for_fault(server)
            for step, loss in CURVE[1:]:
                stage.metrics(step, {"loss": loss})
            was_still_asking = stage._shipper.process.poll() is None

    assert was_still_asking
    assert shippers() == []
    with TrackerSimulator() as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        ship_pending(project)
    assert server.stage_points("loss") == CURVE


@pytest.mark.long
def test_a_killed_stage_takes_its_shipper_along_and_is_shown_as_killed(tracked_project: Path, checkout: Path) -> None:
    command = [sys.executable, "-c", STAGE_THAT_DIES, str(tracked_project)]
    done = subprocess.run(command, stdout=subprocess.PIPE, cwd=checkout, check=False, env=os.environ)
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(int(done.stdout)).wait(timeout=60)

    assert done.returncode == -signal.SIGKILL
    client = Tracker(tracked_project).client
    runs = client.search_runs(["1"], filter_string="tags.`minimagen.stage` = 'train'")
    assert [(run.info.status, run.data.metrics) for run in runs] == [("KILLED", {"loss": 0.5})]


def test_a_killed_stages_shipper_is_gone_in_seconds_whatever_it_waits_for(
    project: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "runs/train/base-0123").mkdir(parents=True)
    (project / "runs/train/base-0123/ship.json").touch()  # what the stage waits for before it dies
    with TrackerSimulator(lambda path, nth: "hang") as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        command = [sys.executable, "-c", STAGE_THAT_DIES, str(project)]
        done = subprocess.run(command, stdout=subprocess.PIPE, cwd=checkout, check=False, env=os.environ)
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(int(done.stdout)).wait(timeout=5)


@pytest.mark.long
def test_signals_for_the_stage_do_not_end_the_shipper(
    project: Path, stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = train(stages)
    with TrackerSimulator(lambda path, nth: "lose answer" if path == "runs/update" and nth == 0 else None) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        handle = start_shipper(project, folder, interval_s=0.01)
        wait_for_fault(server)

        handle.process.send_signal(signal.SIGINT)
        handle.process.send_signal(signal.SIGTERM)

        assert handle.finish(timeout_s=60)
    assert server.stage_points("loss") == CURVE


@pytest.mark.long
def test_the_shipper_holds_no_pipe_of_the_stage_and_gives_way(tracked_project: Path, stages: Stages) -> None:
    handle = start_shipper(tracked_project, train(stages), interval_s=0.01)
    process = psutil.Process(handle.process.pid)
    log = tracked_project / "runs" / "train" / "base-0123" / "shipper.log"
    outputs = [Path(f"/proc/{handle.process.pid}/fd/{number}").readlink() for number in (1, 2)]

    handle.finish(timeout_s=60)

    assert outputs == [log, log]
    assert not process.is_running()


@pytest.mark.long
def test_what_earlier_stages_left_is_shipped_too(tracked_project: Path, stages: Stages) -> None:
    with stages.evaluate() as stage:
        stage.finish({"alignment.joint": 0.5})

    with stages.train(is_live=True):
        pass

    client = Tracker(tracked_project).client
    runs = client.search_runs(["1"], filter_string="tags.`minimagen.stage` = 'evaluate'")
    assert [run.data.metrics for run in runs] == [{"alignment.joint": 0.5}]


def test_a_shipper_that_died_is_no_error(project: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"], stdin=subprocess.PIPE) as process:
        assert not ShipperHandle(process).finish(timeout_s=60)
