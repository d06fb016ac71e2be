"""A stage's journal tells its whole story, without mlflow and whatever way the stage ends."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from minimagen.journal import Entry, read_journal
from minimagen.tracking import stage as stage_module
from minimagen.tracking.lock import LockedError
from minimagen.tracking.record import read_stage
from tests.tracking.conftest import Stages


def journal_of(root: Path, folder: str = "runs/train/base-0123") -> list[Entry]:
    return list(read_journal(root / folder / "journal.jsonl"))


def events_of(root: Path) -> list[dict[str, object]]:
    return [dict(entry.values) for entry in journal_of(root) if entry.kind == "event"]


def test_everything_a_stage_says_is_in_its_journal(project: Path, stages: Stages) -> None:
    with stages.train() as stage:
        stage.params({"data_sha256": "ab12"})
        stage.metrics(10, {"loss": 0.5})
        grid = stage.run_folder / "grids" / "step-10.png"
        grid.parent.mkdir()
        Image.new("RGB", (8, 8)).save(grid)
        stage.image(10, "samples", grid, "sixteen captions")
        stage.finish({"loss": 0.25})

    said = [(entry.kind, entry.step, dict(entry.values)) for entry in journal_of(project)]
    assert said[0] == ("event", 0, {"event": "start"})
    assert ("param", 0, {"data_sha256": "ab12"}) in said
    assert ("metric", 10, {"loss": 0.5}) in said
    picture = {"path": "grids/step-10.png", "key": "samples", "caption": "sixteen captions"}
    assert ("image", 10, picture) in said
    assert said[-1] == ("event", 10, {"event": "finish", "final.loss": 0.25})


def test_the_start_names_parameters_and_origin(project: Path, stages: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", "train@base")
    monkeypatch.setenv("MINIMAGEN_FLOW_RUN_ID", "flow-7")

    with stages.train():
        pass

    values = {key: value for entry in journal_of(project) for key, value in entry.values.items()}
    assert values["dim"] == str(stages.params.unets["base"].unet.dim)
    assert values["fingerprint"] == "0123"
    assert values["dvc_stage"] == "train@base"
    assert values["prefect_flow_run"] == "flow-7"


def test_leaving_without_a_word_is_finishing(project: Path, stages: Stages) -> None:
    with stages.train():
        pass

    assert [event["event"] for event in events_of(project)] == ["start", "finish"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(143), SystemExit(130)])
def test_a_stop_is_an_interruption(project: Path, stages: Stages, stop: BaseException) -> None:
    with pytest.raises(type(stop)), stages.train():
        raise stop

    assert events_of(project)[-1] == {"event": "interrupt"}


def test_a_failure_tells_its_type_and_not_its_message(project: Path, stages: Stages) -> None:
    with pytest.raises(RuntimeError, match="token=secret"), stages.train():
        raise RuntimeError("token=secret")

    assert events_of(project)[-1] == {"event": "fail", "error": "RuntimeError"}
    assert "secret" not in (project / "runs" / "train" / "base-0123" / "journal.jsonl").read_text()


def test_continuing_keeps_the_name_of_the_run(project: Path, stages: Stages) -> None:
    folder = project / "runs" / "train" / "base-0123"
    with pytest.raises(KeyboardInterrupt), stages.train() as stage:
        stage.metrics(10, {"loss": 0.5})
        raise KeyboardInterrupt
    first = read_stage(folder)

    with stages.train() as stage:
        stage.journal.rewind(0)
        stage.metrics(10, {"loss": 0.5})

    assert read_stage(folder) == first
    assert [event["event"] for event in events_of(project)] == ["start", "start", "rewind", "finish"]


def test_a_folder_has_one_stage_at_a_time(stages: Stages) -> None:
    with stages.train(), pytest.raises(LockedError, match=r"stage\.lock: held by another process"):
        stages.train()

    with stages.train():
        pass


def test_a_kept_file_is_a_copy(project: Path, stages: Stages) -> None:
    report = project / "report.html"
    report.write_text("first")
    with stages.evaluate() as stage:
        stage.finish({"alignment.joint": 0.5}, artifacts=[report])
    report.write_text("second")

    folder = project / "runs" / "evaluate" / "4567"
    kept = next(entry for entry in journal_of(project, "runs/evaluate/4567") if entry.kind == "artifact")
    assert (folder / str(kept.values["path"])).read_text() == "first"


def test_a_picture_outside_the_run_folder_is_refused(project: Path, stages: Stages) -> None:
    with stages.train() as stage, pytest.raises(ValueError, match="is not in the subpath"):
        stage.image(1, "samples", project / "elsewhere.png", "caption")


def test_tracking_off_starts_no_shipper_and_keeps_the_journal(
    project: Path, stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIMAGEN_TRACKING", "off")

    with stages.train(is_live=True) as stage:
        stage.metrics(1, {"loss": 0.5})

    assert len(journal_of(project)) > 3
    assert not (project / "runs" / "train" / "base-0123" / "shipper.log").exists()


def test_without_mlflow_one_line_says_so(
    project: Path, stages: Stages, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stage_module, "has_mlflow", lambda: False)

    with caplog.at_level(logging.INFO), stages.train(is_live=True):
        pass

    assert [record.message for record in caplog.records] == [
        "mlflow is not installed: the run stays in its journal, `minimagen ship` shows it later"
    ]
    assert len(journal_of(project)) > 3


def test_a_stage_imports_neither_mlflow_nor_torch(checkout: Path) -> None:
    program = (
        "import sys, minimagen.tracking.stage, minimagen.tracking.shipper\n"
        "print({'mlflow', 'torch', 'prefect', 'dvc'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=checkout, check=True)

    assert done.stdout == "set()\n"
