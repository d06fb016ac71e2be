"""Stage train makes the same outs however often it is interrupted, and refuses what cannot work before any step."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from minimagen.config import ConfigError
from minimagen.datasets.captioned import CaptionedImages
from minimagen.journal import Value, read_journal
from minimagen.models.unet import UNet
from minimagen.saved_model import read_model
from minimagen.stages.run_lock import run_lock
from minimagen.stages.train import run_train
from minimagen.stages.training_session import Session
from minimagen.training.checkpoint import verify_state
from minimagen.training.objective import Objective
from minimagen.training.validation import validation_losses
from tests.stages.tiny_project import CHECKOUT, files_below, outs_of, tiny_params, write_tiny_data

ENDLESS = """
import sys
from pathlib import Path
from minimagen.stages import training_session
from minimagen.stages.train import run_train
from tests.stages.tiny_project import tiny_params

save = training_session.save_state
training_session.save_state = lambda *args, **keywords: (save(*args, **keywords), print("saved", flush=True))
run_train(tiny_params(num_steps=100_000), "base", Path(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose base U-Net is trained, to be read only."""
    root = tmp_path_factory.mktemp("trained")
    write_tiny_data(root)
    run_train(tiny_params(), "base", root)
    return root


def run_folder(root: Path, unet: str = "base") -> Path:
    (folder,) = (path for path in (root / "runs/train").glob(f"{unet}-*") if ".aside" not in path.name)
    return folder


def journalled(root: Path) -> list[tuple[int, dict[str, Value]]]:
    timeless = ("train_loss", "learning_rate", "grad_norm", "validation_loss", "validation_loss/0.00-0.25")
    entries = [entry for entry in read_journal(run_folder(root) / "journal.jsonl") if entry.kind == "metric"]
    return [(entry.step, {key: entry.values[key] for key in timeless if key in entry.values}) for entry in entries]


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

    assert lines[0] == "step,train_loss,validation_loss"
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
        image_size=8,
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
    for name, content in outs_of(trained).items():
        assert b"images_per_s" not in content and str(trained).encode() not in content, name


def test_a_finished_training_run_again_trains_nothing_and_changes_no_byte(tmp_path: Path) -> None:
    write_tiny_data(tmp_path)
    run_train(tiny_params(num_steps=4), "base", tmp_path)
    before = outs_of(tmp_path)

    run_train(tiny_params(num_steps=4), "base", tmp_path)

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


@pytest.mark.parametrize("at_step", [1, 5, 8, 11])
def test_killed_between_any_two_steps_it_ends_with_the_same_outs_and_curves(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_step: int
) -> None:
    write_tiny_data(tmp_path)
    real = Session._do_what_is_due

    def die(session: Session, step: int) -> None:
        real(session, step)
        if step == at_step:
            raise MemoryError("as good as a kill: nothing is saved on the way out")

    monkeypatch.setattr(Session, "_do_what_is_due", die)
    with pytest.raises(MemoryError):
        run_train(tiny_params(), "base", tmp_path)
    monkeypatch.undo()

    run_train(tiny_params(), "base", tmp_path)

    assert outs_of(tmp_path) == outs_of(trained)
    assert journalled(tmp_path) == journalled(trained)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_step_and_the_next_run_goes_on(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    write_tiny_data(tmp_path)
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    real = Session._do_what_is_due

    def be_told(session: Session, step: int) -> None:
        real(session, step)
        if step == 7:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Session, "_do_what_is_due", be_told)
    with pytest.raises(SystemExit) as caught:
        run_train(tiny_params(), "base", tmp_path)
    for each, handler in before.items():
        signal.signal(each, handler)
    monkeypatch.undo()

    assert caught.value.code == code
    assert not (tmp_path / "data/models").exists()
    assert max(path.name for path in (run_folder(tmp_path) / "states").iterdir()) == "step-00000007"
    run_train(tiny_params(), "base", tmp_path)
    assert outs_of(tmp_path) == outs_of(trained)


def test_a_signal_while_saving_loses_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_data(tmp_path)
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    real = Session._save

    def save(session: Session, *, is_last: bool) -> None:
        real(session, is_last=is_last)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Session, "_save", save)
    with pytest.raises(SystemExit):
        run_train(tiny_params(), "base", tmp_path)
    for each, handler in before.items():
        signal.signal(each, handler)

    assert sorted(path.name for path in (run_folder(tmp_path) / "states").iterdir()) == [
        "step-00000004",
        "step-00000005",
    ]


def test_a_signal_before_the_first_step_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_data(tmp_path)
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr(Session, "resume", lambda session: os.kill(os.getpid(), signal.SIGTERM))

    with pytest.raises(SystemExit, match="143"):
        run_train(tiny_params(), "base", tmp_path)
    for each, handler in before.items():
        signal.signal(each, handler)

    assert json.loads((run_folder(tmp_path) / "timings.json").read_text())["num_steps"] == 0


def test_a_real_process_told_to_stop_exits_143_and_keeps_all_steps(tmp_path: Path) -> None:
    write_tiny_data(tmp_path)
    command = [sys.executable, "-c", ENDLESS, str(tmp_path)]
    with subprocess.Popen(command, cwd=CHECKOUT, stderr=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"saved\n"
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)

    newest = max((run_folder(tmp_path) / "states").iterdir())
    assert process.returncode == 143
    assert f"saved after step {verify_state(newest).step} of 100000" in output.decode()


def test_a_second_trainer_exits_75_and_names_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tiny_data(tmp_path)

    with run_lock(tmp_path / "runs/train/base.lock"), pytest.raises(SystemExit) as caught:
        run_train(tiny_params(), "base", tmp_path)

    assert caught.value.code == 75
    assert f"held by process {os.getpid()}" in capsys.readouterr().err


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


def test_a_damaged_newest_state_costs_only_the_steps_since_the_one_before(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tiny_data(tmp_path)
    run_train(tiny_params(), "base", tmp_path)
    damaged = run_folder(tmp_path) / "states/step-00000012/weights.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x00")

    run_train(tiny_params(), "base", tmp_path)

    assert "step-00000012/weights.safetensors" in caplog.text
    assert json.loads((run_folder(tmp_path) / "timings.json").read_text())["num_steps"] == 4
    assert outs_of(tmp_path) == outs_of(trained)


def test_without_data_it_says_which_stage_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"curated/manifest\.json: no such file"):
        run_train(tiny_params(), "base", tmp_path)


def test_embeddings_of_another_state_of_the_data_are_refused(tmp_path: Path) -> None:
    write_tiny_data(tmp_path)
    embeddings = files_below(tmp_path / "data/embeddings")
    write_tiny_data(tmp_path, text="another caption")
    for name, content in embeddings.items():
        (tmp_path / "data/embeddings" / name).write_bytes(content)

    with pytest.raises(ValueError, match="encodes another state of"):
        run_train(tiny_params(), "base", tmp_path)


def test_fp16_is_refused_on_a_cpu(tmp_path: Path) -> None:
    write_tiny_data(tmp_path)

    with pytest.raises(ConfigError, match=r"unets\.base\.training\.precision: fp16 needs a GPU"):
        run_train(tiny_params(precision="fp16"), "base", tmp_path)


def test_a_snapshot_after_the_end_is_refused(tmp_path: Path) -> None:
    write_tiny_data(tmp_path)

    with pytest.raises(ConfigError, match=r"snapshot_epochs: epoch 9 ends at step 23, the training has steps 1 to 12"):
        run_train(tiny_params(snapshot_epochs=[9]), "base", tmp_path)


def test_a_disk_without_room_is_refused_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_data(tmp_path)
    monkeypatch.setattr("minimagen.stages.train.NUM_STATES_OF_ROOM", 10**12)

    with pytest.raises(ConfigError, match="GB are free"):
        run_train(tiny_params(), "base", tmp_path)

    assert not (run_folder(tmp_path) / "states").exists()


def test_a_full_disk_in_the_middle_costs_one_save_and_no_step(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_tiny_data(tmp_path)
    real = Session._save

    def full(*arguments: object, **keywords: object) -> Path:
        raise OSError(28, "No space left on device")

    def save(session: Session, *, is_last: bool) -> None:
        with monkeypatch.context() as patch:
            if session.state.step == 4:
                patch.setattr("minimagen.stages.training_session.save_state", full)
            real(session, is_last=is_last)

    monkeypatch.setattr(Session, "_save", save)
    run_train(tiny_params(), "base", tmp_path)

    assert "step 4 is not saved, training goes on: [Errno 28]" in caplog.text
    assert outs_of(tmp_path) == outs_of(trained)


def test_how_often_it_saves_validates_and_draws_changes_no_weight(trained: Path, tmp_path: Path) -> None:
    write_tiny_data(tmp_path)
    grid = {"every": 0, "num_captions": 1, "num_steps": 1, "guidance_scale": 1.0}

    run_train(tiny_params(save_every=100, validate_every=100, grid=grid), "base", tmp_path)

    assert all(
        torch.equal(tensor, read_model(trained / "data/models/base").tensors[name])
        for name, tensor in read_model(tmp_path / "data/models/base").tensors.items()
    )
