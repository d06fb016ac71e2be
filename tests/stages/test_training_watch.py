"""What a training is asked while it runs: losses of seen pictures, verdicts on grids, and the stop before copying."""

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from minimagen.config import ConfigError, Params, validate_params
from minimagen.journal import Entry, read_journal
from minimagen.saved_model import read_model
from minimagen.stages import training_watch
from minimagen.stages.train import run_train
from minimagen.stages.training_watch import Look
from minimagen.training.checkpoint import verify_state
from minimagen.training.ema import Ema
from tests.stages.interrupted import stop_after
from tests.stages.spoilt_update import spoiling_update
from tests.stages.tiny_project import outs_of, run_folder, tiny_params, write_tiny_data

GRID = {"every": 2, "num_captions": 2, "num_steps": 2, "guidance_scale": 2.0, "on_copying": "warn"}


def _stopping(*, snapshot_epochs: Sequence[int] = (), save_every: int = 4) -> Params:
    """Returns parameters under which the base stops before it copies; the other network is not asked."""
    params = tiny_params(grid=GRID, snapshot_epochs=list(snapshot_epochs), save_every=save_every)
    document = params.model_dump(mode="json")
    document["unets"]["base"]["training"]["grid"]["on_copying"] = "stop"
    return validate_params(document, Path("params.yaml"))


def _entries(root: Path, kind: str) -> list[Entry]:
    return [entry for entry in read_journal(run_folder(root) / "journal.jsonl") if entry.kind == kind]


@pytest.fixture
def copying_at_third_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two grids of a process are found clean, all later ones full of copies."""
    real, looks = training_watch._base_look, list[Look]()

    def look(*args: object) -> Look:
        found = real(*args)  # pyright: ignore[reportArgumentType]
        looks.append(Look(found.text, found.metrics, is_copying=len(looks) >= 2))
        return looks[-1]

    monkeypatch.setattr(training_watch, "_base_look", look)


def test_each_grid_has_a_verdict_and_its_numbers(trained: Path) -> None:
    found = [entry for entry in _entries(trained, "metric") if "grid/roughness" in entry.values]

    assert [entry.step for entry in found] == [6, 12]
    for entry in found:
        assert entry.values.keys() >= {"grid/right_captions", "grid/copied", "nearest_ratio", "nearest_ratio_held_out"}
        assert 0.0 < float(entry.values["nearest_ratio"]) <= 1.0
    tags = [entry.values["verdict"] for entry in _entries(trained, "tag") if "verdict" in entry.values]
    assert [str(text).partition(":")[0] for text in tags] == ["step 6", "step 12"]


def test_seen_and_held_out_losses_stand_side_by_side(trained: Path) -> None:
    lines = (trained / "data/checkpoints/base/curves.csv").read_text().splitlines()
    rows = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]

    measured = [row for row in rows if row["validation_loss"]]
    assert [row["step"] for row in measured] == ["6", "12"]
    assert all(float(row["seen_loss"]) > 0 and row["seen_loss"] != row["validation_loss"] for row in measured)


def test_a_super_resolution_network_is_compared_with_enlarging(tmp_path: Path) -> None:
    write_tiny_data(tmp_path)

    run_train(tiny_params(num_steps=6), "super", tmp_path)

    texts = [
        entry.values["verdict"]
        for entry in read_journal(run_folder(tmp_path, "super") / "journal.jsonl")
        if "verdict" in entry.values
    ]
    assert len(texts) == 1 and "than enlarging does" in str(texts[0])


@pytest.mark.usefixtures("copying_at_third_grid")
def test_a_training_stops_with_the_weights_from_before_it_copied(tmp_path: Path) -> None:
    write_tiny_data(tmp_path)

    run_train(_stopping(), "base", tmp_path)

    assert read_model(tmp_path / "data/models/base").record.num_steps == 4
    assert verify_state(tmp_path / "data/checkpoints/base/final").step == 6


@pytest.mark.usefixtures("copying_at_third_grid")
def test_a_stopped_training_run_again_trains_nothing_and_changes_no_byte(tmp_path: Path) -> None:
    write_tiny_data(tmp_path)
    params = _stopping()
    run_train(params, "base", tmp_path)
    before = outs_of(tmp_path)

    run_train(params, "base", tmp_path)

    assert outs_of(tmp_path) == before
    assert json.loads((run_folder(tmp_path) / "timings.json").read_text())["num_steps"] == 0


@pytest.mark.usefixtures("copying_at_third_grid")
def test_a_stopped_training_brings_the_averages_of_the_epochs_that_it_came_to(tmp_path: Path) -> None:
    """Epochs 1, 2 and 4 end with steps 3, 5 and 10."""
    write_tiny_data(tmp_path)

    run_train(_stopping(snapshot_epochs=[1, 2, 4]), "base", tmp_path)

    checkpoints = tmp_path / "data/checkpoints/base"
    assert {path.name for path in checkpoints.glob("epoch-*")} == {"epoch-00001", "epoch-00002"}
    assert [read_model(path).record.num_steps for path in sorted(checkpoints.glob("epoch-*"))] == [3, 5]


@pytest.mark.usefixtures("copying_at_third_grid")
def test_weights_from_before_it_went_back_are_not_brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes back to the start from step 6, and is found copying after step 2; without copies was the first step 4."""
    write_tiny_data(tmp_path)
    monkeypatch.setattr(Ema, "update", spoiling_update(5, "weight", math.nan))

    run_train(_stopping(save_every=100), "base", tmp_path)

    assert verify_state(tmp_path / "data/checkpoints/base/final").step == 2
    assert read_model(tmp_path / "data/models/base").record.num_steps == 2


@pytest.mark.usefixtures("copying_at_third_grid")
def test_weights_ahead_of_the_state_gone_on_from_are_not_brought(tmp_path: Path) -> None:
    write_tiny_data(tmp_path)
    stop_after(tmp_path, 5, _stopping(save_every=100))
    shutil.rmtree(run_folder(tmp_path) / "states")

    run_train(_stopping(save_every=100), "base", tmp_path)

    assert read_model(tmp_path / "data/models/base").record.num_steps == 2
    assert not list(run_folder(tmp_path).glob("before-copying*"))


@pytest.mark.usefixtures("copying_at_third_grid")
def test_a_warning_is_given_once_and_training_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_tiny_data(tmp_path)

    run_train(tiny_params(grid=GRID, snapshot_epochs=[]), "base", tmp_path)

    assert read_model(tmp_path / "data/models/base").record.num_steps == 12
    assert sum("are copies of training pictures" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize(
    ("grid", "unet"), [({"every": 0}, "base"), ({}, "super")], ids=["no grid", "starts from pictures"]
)
def test_a_stop_that_could_never_come_is_refused(grid: dict[str, object], unet: str) -> None:
    document = tiny_params().unets[unet].model_dump(mode="json")
    document["training"]["grid"] |= {"on_copying": "stop"} | grid

    with pytest.raises((ConfigError, ValueError), match=r"training\.grid\.on_copying stop, expected ignore or warn"):
        type(tiny_params().unets[unet]).model_validate(document, strict=False)
