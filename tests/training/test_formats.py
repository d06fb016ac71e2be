"""Every version of a saved state that was ever written can be gone on from, and computes the same bits."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from minimagen.sealed import read_sealed, write_sealed
from minimagen.training.checkpoint import FORMAT_VERSION, Beside, CheckpointError, load_newest
from minimagen.training.loop import train
from tests.training.small import CPU, cpu_accelerator, small_config, small_network, small_state, small_task

FORMATS = Path(__file__).parents[1] / "formats"
BESIDE = {1: Beside((0.25, 0.5)), 2: Beside((0.25, 0.5), ("sample-7",))}
STEP = 4


def answers(network: nn.Module) -> list[str]:
    """Returns what a network makes of a fixed input; in fp64, so that every machine rounds to the same fp32."""
    samples = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(4, 6)
    return [value.hex() for value in network.double().eval()(samples).float().flatten().tolist()]


@pytest.mark.parametrize("version", range(1, FORMAT_VERSION + 1))
def test_a_state_of_every_version_loads_and_computes_the_same_bits(version: int, tmp_path: Path) -> None:
    folder = shutil.copytree(FORMATS / f"state-{version}", tmp_path / "states")
    expected = json.loads((folder / "expected.json").read_text())
    state = small_state(small_config(), small_network(dropout=0.1))

    resumed = load_newest(folder, state, scaler=None, device=CPU)

    assert resumed is not None and (resumed.step, resumed.beside) == (STEP, BESIDE[version])
    averaged = small_network()
    averaged.load_state_dict(state.ema.tensors)
    assert answers(averaged) == expected["averages"]
    assert answers(small_network_of(state.network)) == expected["weights"]


def small_network_of(network: nn.Module) -> nn.Module:
    """Returns a copy, since computing in fp64 changes a network."""
    copied = small_network()
    copied.load_state_dict(network.state_dict())
    return copied


@pytest.mark.parametrize("version", range(1, FORMAT_VERSION + 1))
def test_a_training_goes_on_from_every_version(version: int, tmp_path: Path) -> None:
    config = small_config()
    folder = shutil.copytree(FORMATS / f"state-{version}", tmp_path / "states")
    straight, resumed = (small_state(config, small_network(dropout=0.1)) for _ in range(2))
    load_newest(folder, resumed, scaler=None, device=CPU)

    for state in (straight, resumed):
        list(train(state, small_task(config), config=config, num_steps=12, accelerator=cpu_accelerator()))

    for name, average in straight.ema.tensors.items():
        torch.testing.assert_close(resumed.ema.tensors[name], average, rtol=1e-4, atol=1e-6)


def test_the_version_written_has_a_fixture_and_all_are_small() -> None:
    versions = {read_sealed(folder / f"step-{STEP:08d}")["format_version"] for folder in FORMATS.glob("state-*")}

    assert versions == set(range(1, FORMAT_VERSION + 1))
    assert sum(path.stat().st_size for path in FORMATS.rglob("*") if path.is_file()) < 200_000


def test_a_version_to_come_is_refused_in_a_line(tmp_path: Path) -> None:
    write_sealed(tmp_path / "step-00000009", [("state.json", b"{}")], {"format_version": FORMAT_VERSION + 1})

    with pytest.raises(CheckpointError, match=r"MANIFEST\.json: format version 3, this program reads 1 to 2: use"):
        load_newest(tmp_path, small_state(small_config()), scaler=None, device=CPU)
