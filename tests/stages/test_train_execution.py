"""How a step is computed changes speed and memory; curves change by rounding alone, saved weights keep their names."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minimagen.saved_model import read_model
from minimagen.stages.train import run_train
from minimagen.stages.training_session import Session
from tests.stages.tiny_project import CHECKOUT, journalled, outs_of, tiny_params, write_tiny_data

PLAIN: dict[str, object] = {"accumulate": 1, "recompute": False, "compile": False, "channels_last": False}


def assert_same_training(root: Path, expected: Path) -> None:
    for (step, values), (wanted_step, wanted) in zip(journalled(root), journalled(expected), strict=True):
        assert step == wanted_step and values == pytest.approx(wanted, rel=1e-4, abs=1e-5)
    assert (
        read_model(root / "data/models/base").tensors.keys() == read_model(expected / "data/models/base").tensors.keys()
    )


@pytest.mark.parametrize(
    "change",
    [
        {"accumulate": 3},
        {"recompute": True},
        {"channels_last": True},
        {"accumulate": 2, "recompute": True, "channels_last": True},
    ],
)
def test_each_way_gives_the_plain_curve(trained: Path, tmp_path: Path, change: dict[str, object]) -> None:
    write_tiny_data(tmp_path)

    run_train(tiny_params(execution=PLAIN | change), "base", tmp_path)

    assert_same_training(tmp_path, trained)


@pytest.mark.long
def test_with_all_of_them_and_dropout_and_warps_a_stop_changes_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = PLAIN | {"accumulate": 2, "recompute": True, "channels_last": True}
    params = tiny_params(dropout=0.3, hears_warp=True, warp_prob=0.5, execution=execution)
    roots = [tmp_path / name for name in ("straight", "halted")]
    for root in roots:
        write_tiny_data(root)
    run_train(params, "base", roots[0])
    real = Session._do_what_is_due

    def die(session: Session, step: int) -> None:
        real(session, step)
        if step == 7:
            raise MemoryError("as good as a kill")

    monkeypatch.setattr(Session, "_do_what_is_due", die)
    with pytest.raises(MemoryError):
        run_train(params, "base", roots[1])
    monkeypatch.undo()
    run_train(params, "base", roots[1])

    assert outs_of(roots[0]) == outs_of(roots[1])


def test_warps_are_learned_from_and_change_the_training(trained: Path, tmp_path: Path) -> None:
    write_tiny_data(tmp_path)

    run_train(tiny_params(hears_warp=True, warp_prob=0.5), "base", tmp_path)

    warped = read_model(tmp_path / "data/models/base")
    assert warped.record.unet.hears_warp and "warp.weight" in warped.tensors
    assert journalled(tmp_path) != journalled(trained)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("change", [{}, {"accumulate": 2, "recompute": True, "channels_last": True}])
def test_a_compiled_network_gives_the_plain_curve(trained: Path, tmp_path: Path, change: dict[str, object]) -> None:
    write_tiny_data(tmp_path)
    settings = json.dumps({"execution": PLAIN | {"compile": True} | change})
    environment = os.environ | {"MINIMAGEN_DEVICE": "cpu", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "compiled")}

    # A process of its own: here, every function checks the shapes of its arguments, which is no part of the network.
    command = [sys.executable, "-m", "tests.stages.trainer", str(tmp_path), settings]
    subprocess.run(command, cwd=CHECKOUT, env=environment, check=True)

    assert_same_training(tmp_path, trained)
