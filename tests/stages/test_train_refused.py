"""What cannot work is refused before the first step, in a line that says what to change."""

import os
import shutil
from pathlib import Path

import pytest

from minimagen.config import ConfigError
from minimagen.stages.run_lock import AlreadyRunningError, run_lock
from minimagen.stages.train import run_train
from tests.stages.tiny_project import run_folder, tiny_params, write_tiny_data


def test_a_second_trainer_is_told_of_the_first(tmp_path: Path) -> None:
    write_tiny_data(tmp_path)
    held = pytest.raises(AlreadyRunningError, match=f"held by process {os.getpid()}")

    with run_lock(tmp_path / "runs/train/base.lock"), held:
        run_train(tiny_params(), "base", tmp_path)


def test_without_data_it_says_which_stage_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"curated/manifest\.json: no such file"):
        run_train(tiny_params(), "base", tmp_path)


def test_embeddings_of_another_state_of_the_data_are_refused(tmp_path: Path) -> None:
    write_tiny_data(tmp_path)
    shutil.copytree(tmp_path / "data/embeddings", tmp_path / "kept")
    write_tiny_data(tmp_path, text="another caption")
    shutil.rmtree(tmp_path / "data/embeddings")
    (tmp_path / "kept").rename(tmp_path / "data/embeddings")

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
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("minimagen.stages.train.shutil.disk_usage", lambda path: usage._replace(free=0))

    with pytest.raises(ConfigError, match=r"0\.00 GB are free, 3 saved states to come need"):
        run_train(tiny_params(), "base", tmp_path)

    assert not (run_folder(tmp_path) / "states").exists()


def test_a_batch_smaller_than_its_parts_is_refused(tmp_path: Path) -> None:
    execution = {"accumulate": 5, "recompute": False, "compile": False, "channels_last": False}

    with pytest.raises(ConfigError, match=r"unets\.base\.training: execution\.accumulate 5 is more than batch_size 4"):
        run_train(tiny_params(execution=execution), "base", tmp_path)


def test_compiling_without_a_compiler_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    execution = {"accumulate": 1, "recompute": False, "compile": True, "channels_last": False}

    with pytest.raises(
        ConfigError, match=r"unets\.base\.training\.execution\.compile: there is no C\+\+ compiler 'no-"
    ):
        run_train(tiny_params(execution=execution), "base", tmp_path)


def test_warps_that_the_network_does_not_hear_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"unets\.base: training\.warp_prob 0\.2 with unet\.hears_warp false"):
        tiny_params(warp_prob=0.2)
    with pytest.raises(ConfigError, match=r"unets\.base: unet\.hears_warp true with training\.warp_prob 0"):
        tiny_params(hears_warp=True)
