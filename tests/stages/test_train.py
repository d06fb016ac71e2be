"""Stage train makes complete outs that depend on parameters and data alone."""

import json
from pathlib import Path

import pytest
import torch

from minimagen.datasets.captioned import CaptionedImages
from minimagen.journal import read_journal
from minimagen.models.unet import UNet
from minimagen.saved_model import read_model
from minimagen.stages.train import run_train
from minimagen.training.checkpoint import verify_state
from minimagen.training.objective import Objective
from minimagen.training.validation import validation_losses
from tests.stages.tiny_project import outs_of, run_folder, tiny_params, write_tiny_data


def test_the_outs_are_complete_and_whole(trained: Path) -> None:
    assert set(outs_of(trained)) == {
        "model.safetensors", "config.json", "MANIFEST.json", "curves.csv",
        *(f"final/{name}.safetensors" for name in ("weights", "averages", "moments1", "moments2")),
        "final/state.json", "final/MANIFEST.json",
        *(f"epoch-00001/{name}" for name in ("model.safetensors", "config.json", "MANIFEST.json")),
    }  # fmt: skip
    assert verify_state(trained / "data/checkpoints/base/final").step == 12
    assert read_model(trained / "data/checkpoints/base/epoch-00001").record.num_steps == 3
    assert [path.name for path in (trained / "data/models").iterdir()] == ["base"]


def test_the_model_folder_rebuilds_the_averaged_network(trained: Path) -> None:
    model = read_model(trained / "data/models/base")
    network = UNet(model.record.unet, text_dim=model.record.encoder.text_dim, has_low_res=model.record.has_low_res)

    network.load_state_dict(model.tensors)

    assert model.record.num_steps == 12 and model.record.image_size == 8
    assert any(bool(tensor.any()) for name, tensor in model.tensors.items() if name.startswith("last."))


def test_curves_have_every_reported_step_and_no_time(trained: Path) -> None:
    lines = (trained / "data/checkpoints/base/curves.csv").read_text().splitlines()

    assert lines[0] == "step,train_loss,validation_loss,seen_loss,nearest_ratio,nearest_ratio_held_out"
    assert [line.split(",")[0] for line in lines[1:]] == ["6", "10", "12"]
    assert lines[1].split(",")[1] == "" and all(float(line.split(",")[2]) > 0 for line in (lines[1], lines[3]))


def test_the_validation_loss_is_that_of_the_published_model(tmp_path: Path) -> None:
    write_tiny_data(tmp_path)
    params = tiny_params(num_steps=6, dropout=0.5)
    run_train(params, "base", tmp_path)
    section, model = params.unets["base"], read_model(tmp_path / "data/models/base")
    network = UNet(model.record.unet, text_dim=model.record.encoder.text_dim, has_low_res=False).eval()
    network.load_state_dict(model.tensors)
    data = CaptionedImages.load(
        tmp_path / "data/curated", tmp_path / "data/embeddings", split="validation", size=8, crop="center", cache=None
    )

    found = validation_losses(
        lambda batch, draws: Objective(section, torch.device("cpu")).loss_under(network, batch, draws),
        data,
        aug_level=0.0,
        num_images=5,
        batch_size=4,
        seed=section.training.seed,
    )

    last = (tmp_path / "data/checkpoints/base/curves.csv").read_text().splitlines()[-1]
    assert float(last.split(",")[2]) == pytest.approx(found.loss, rel=1e-6)


def test_grids_are_pictures_in_the_journal(trained: Path) -> None:
    entries = [entry for entry in read_journal(run_folder(trained) / "journal.jsonl") if entry.kind == "image"]

    assert [entry.step for entry in entries] == [6, 12]
    assert all((run_folder(trained) / str(entry.values["path"])).read_bytes()[1:4] == b"PNG" for entry in entries)


def test_speed_is_kept_out_of_the_outs(trained: Path) -> None:
    timings = json.loads((run_folder(trained) / "timings.json").read_text())

    assert timings["images_per_s"] > 0 and timings["num_steps"] == 12
    for kind in ("models", "checkpoints"):
        for path in (file for file in (trained / "data" / kind / "base").rglob("*") if file.is_file()):
            content = path.read_bytes()
            assert b"images_per_s" not in content and str(trained).encode() not in content, path


def test_a_finished_training_run_again_trains_nothing_and_changes_no_byte(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_data(tmp_path)
    run_train(tiny_params(num_steps=4), "base", tmp_path)
    before = outs_of(tmp_path)
    capsys.readouterr()

    run_train(tiny_params(num_steps=4), "base", tmp_path)

    assert capsys.readouterr().out == "train base: 4 steps, none of them now -> data/models/base\n"
    assert outs_of(tmp_path) == before
    assert json.loads((run_folder(tmp_path) / "timings.json").read_text())["num_steps"] == 0


def test_a_copy_of_the_project_gives_the_same_bytes(trained: Path, tmp_path: Path) -> None:
    write_tiny_data(tmp_path)

    run_train(tiny_params(), "base", tmp_path)

    assert outs_of(tmp_path) == outs_of(trained)


def test_what_a_dead_writer_left_beside_the_outs_is_removed(tmp_path: Path) -> None:
    write_tiny_data(tmp_path)
    for parent in ("models", "checkpoints"):
        (tmp_path / "data" / parent / "base.tmp-1").mkdir(parents=True)
        (tmp_path / "data" / parent / "super.tmp-1").mkdir()

    run_train(tiny_params(num_steps=4), "base", tmp_path)

    for parent in ("models", "checkpoints"):
        assert {path.name for path in (tmp_path / "data" / parent).iterdir()} == {"base", "super.tmp-1"}


def test_a_super_resolution_network_trains_alone(tmp_path: Path) -> None:
    write_tiny_data(tmp_path)

    run_train(tiny_params(num_steps=6), "super", tmp_path)

    assert read_model(tmp_path / "data/models/super").record.low_res_size == 8
    assert not (tmp_path / "data/models/base").exists()


def test_changed_parameters_start_afresh_beside_the_old_run(tmp_path: Path) -> None:
    write_tiny_data(tmp_path)
    run_train(tiny_params(num_steps=4), "base", tmp_path)
    old = run_folder(tmp_path)

    run_train(tiny_params(num_steps=4, learning_rate=1e-3), "base", tmp_path)

    assert len(list((tmp_path / "runs/train").glob("base-*"))) == 2
    assert max(path.name for path in (old / "states").iterdir()) == "step-00000004"


def test_fresh_sets_the_old_run_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_data(tmp_path)
    run_train(tiny_params(num_steps=4), "base", tmp_path)
    before = outs_of(tmp_path)
    monkeypatch.setenv("MINIMAGEN_FRESH", "1")

    run_train(tiny_params(num_steps=4), "base", tmp_path)

    assert json.loads((run_folder(tmp_path) / "timings.json").read_text())["num_steps"] == 4
    assert [path.name.rpartition(".")[2] for path in (tmp_path / "runs/train").glob("*aside*")] == ["aside-1"]
    assert outs_of(tmp_path) == before


def test_how_often_it_saves_validates_and_draws_changes_no_weight(trained: Path, tmp_path: Path) -> None:
    write_tiny_data(tmp_path)
    grid = {"every": 0, "num_captions": 1, "num_steps": 1, "guidance_scale": 1.0, "on_copying": "warn"}

    run_train(tiny_params(save_every=100, validate_every=100, grid=grid), "base", tmp_path)

    assert all(
        torch.equal(tensor, read_model(trained / "data/models/base").tensors[name])
        for name, tensor in read_model(tmp_path / "data/models/base").tensors.items()
    )
