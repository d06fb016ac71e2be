"""A saved state is all of the training, comes back exactly, and a damaged one never comes back at all."""

import json
import logging
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler

from minimagen.sealed import SealError, write_sealed
from minimagen.tensor_file import NotFiniteError
from minimagen.training.checkpoint import (
    Beside,
    CheckpointError,
    Resumed,
    load_newest,
    num_states_to_come,
    save_state,
    state_bytes,
    verify_state,
)
from minimagen.training.loop import TrainState, train
from tests.training.saved import assert_same, everything
from tests.training.small import CPU, SmallDraws, cpu_accelerator, small_config, small_network, small_state, small_task

CONFIG = small_config(decay="constant")  # so that a step does not depend on how many follow


def advance(state: TrainState, num_steps: int) -> None:
    config = CONFIG
    list(train(state, small_task(config), config=config, num_steps=num_steps, accelerator=cpu_accelerator()))


def save(folder: Path, state: TrainState, scaler: GradScaler | None = None) -> Path:
    return save_state(folder, state, scaler=scaler, beside=Beside((0.1, 0.2), ("sample-7",)), device=CPU)


def load(folder: Path, state: TrainState, scaler: GradScaler | None = None) -> Resumed | None:
    return load_newest(folder, state, scaler=scaler, device=CPU)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 16
    path.write_bytes(content)


def test_a_state_comes_back_equal_in_every_tensor(tmp_path: Path) -> None:
    state, other = small_state(CONFIG), small_state(CONFIG)
    advance(state, 5)

    save(tmp_path, state)
    resumed = load(tmp_path, other)

    assert resumed == Resumed(5, Beside((0.1, 0.2), ("sample-7",)))
    assert other.step == 5
    assert_same(everything(state), everything(other))


def test_going_on_from_a_state_equals_never_having_stopped(tmp_path: Path) -> None:
    straight, first, second = (small_state(CONFIG) for _ in range(3))
    advance(straight, 11)

    advance(first, 6)
    save(tmp_path, first)
    load(tmp_path, second)
    advance(second, 11)

    assert_same(everything(straight), everything(second))


def test_going_on_is_exact_for_weights_in_another_layout(tmp_path: Path) -> None:
    config = CONFIG

    def fresh() -> TrainState:
        network = nn.Conv2d(2, 3, 2)
        generator = torch.Generator().manual_seed(0)
        for parameter in network.parameters():
            nn.init.normal_(parameter, generator=generator)
        network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        return small_state(config, network)

    def run(state: TrainState, num_steps: int) -> None:
        def loss(network: nn.Module, batch: object, draws: SmallDraws) -> torch.Tensor:
            return network(draws.noise.repeat(1, 6)[:, :32].reshape(8, 2, 4, 4)).square().mean(dim=(1, 2, 3))

        steps = train(
            state, small_task(config, loss), config=config, num_steps=num_steps, accelerator=cpu_accelerator()
        )
        list(steps)

    straight, first, second = fresh(), fresh(), fresh()
    run(straight, 8)
    run(first, 4)
    save(tmp_path, first)
    load(tmp_path, second)
    run(second, 8)

    assert_same(everything(straight), everything(second))


def test_no_state_at_all_is_a_start(tmp_path: Path) -> None:
    assert load(tmp_path / "nowhere", small_state(CONFIG)) is None


def test_two_states_are_kept(tmp_path: Path) -> None:
    state = small_state(CONFIG)
    for step in (1, 2, 3, 4):
        advance(state, step)
        save(tmp_path, state)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000004"]


@pytest.mark.parametrize(
    "file",
    ["weights.safetensors", "averages.safetensors", "moments1.safetensors", "moments2.safetensors", "state.json"],
)
def test_a_damaged_newest_state_falls_back_to_the_one_before_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str
) -> None:
    state, other = small_state(CONFIG), small_state(CONFIG)
    advance(state, 1)
    save(tmp_path, state)
    expected = everything(state)
    advance(state, 2)
    flip_a_bit(save(tmp_path, state) / file)

    with caplog.at_level(logging.WARNING):
        resumed = load(tmp_path, other)

    assert resumed is not None and resumed.step == 1
    assert file in caplog.text and "step-00000001" in caplog.text
    assert_same(expected, everything(other))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_with_no_undamaged_state_both_are_named_and_kept(tmp_path: Path) -> None:
    state = small_state(CONFIG)
    for step in (1, 2):
        advance(state, step)
        flip_a_bit(save(tmp_path, state) / "weights.safetensors")

    with pytest.raises(CheckpointError, match=r"step-00000002/weights.*step-00000001/weights"):
        load(tmp_path, small_state(CONFIG))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_newer_format_is_refused_and_not_passed_over(tmp_path: Path) -> None:
    state = small_state(CONFIG)
    advance(state, 1)
    save(tmp_path, state)
    write_sealed(tmp_path / "step-00000002", [("state.json", b"{}")], {"format_version": 3})

    with pytest.raises(CheckpointError, match="format version 3, this program reads 1 to 2: use"):
        load(tmp_path, small_state(CONFIG))


def test_what_a_dead_writer_left_is_removed(tmp_path: Path) -> None:
    state = small_state(CONFIG)
    advance(state, 1)
    save(tmp_path, state)
    (tmp_path / "step-00000002.tmp-77").mkdir()
    (tmp_path / "step-00000002.tmp-77" / "weights.safetensors").write_bytes(b"torn")

    load(tmp_path, small_state(CONFIG))

    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_a_state_of_another_network_is_refused(tmp_path: Path) -> None:
    state = small_state(CONFIG)
    advance(state, 1)
    save(tmp_path, state)

    with pytest.raises(CheckpointError, match=r"weights\.safetensors: another network's"):
        load(tmp_path, small_state(CONFIG, nn.Linear(6, 6)))


@pytest.mark.parametrize("place", ["weight", "average", "exp_avg", "exp_avg_sq"])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_nothing_that_is_not_finite_is_saved(tmp_path: Path, place: str, bad: float) -> None:
    state = small_state(CONFIG)
    advance(state, 1)
    parameter = next(state.network.parameters())
    slots = state.optimizer.state[parameter]
    target = {"weight": parameter, "average": state.ema.tensors["0.weight"], **slots}[place]
    with torch.no_grad():
        target[0, 0] = bad

    with pytest.raises(NotFiniteError, match=r"step 1: 0\.weight is not finite"):
        save(tmp_path, state)

    assert list(tmp_path.iterdir()) == []


def test_the_loss_scale_of_fp16_comes_back(tmp_path: Path) -> None:
    state = small_state(CONFIG)
    advance(state, 1)
    scaler, other = GradScaler("cpu", init_scale=1024.0), GradScaler("cpu")
    scaler.load_state_dict({**scaler.state_dict(), "scale": 256.0, "_growth_tracker": 17})

    save(tmp_path, state, scaler)
    load(tmp_path, small_state(CONFIG), other)

    assert other.state_dict() == scaler.state_dict()


def test_another_number_of_threads_is_announced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = small_state(CONFIG)
    advance(state, 1)
    path = save(tmp_path, state)
    record = json.loads((path / "state.json").read_text())
    record["environment"]["num_threads"] = 64
    files = [(each.name, each.read_bytes()) for each in path.glob("*.safetensors")]
    write_sealed(path, [*files, ("state.json", json.dumps(record).encode())], {"format_version": 1})

    with caplog.at_level(logging.WARNING):
        load(tmp_path, small_state(CONFIG))

    assert "num_threads=64" in caplog.text and "not bit-exact" in caplog.text


def test_a_state_is_about_as_large_as_announced(tmp_path: Path) -> None:
    state = small_state(CONFIG, nn.Sequential(nn.Linear(200, 200), nn.Linear(200, 6)))
    for parameter in state.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    state.optimizer.step()

    path = save(tmp_path, state)

    written = sum(each.stat().st_size for each in path.iterdir())
    assert state_bytes(state) == pytest.approx(written, rel=0.05)


def test_room_is_needed_for_one_state_more_than_are_kept(tmp_path: Path) -> None:
    state, asked = small_state(CONFIG), [num_states_to_come(tmp_path)]

    for num_steps in (1, 2, 3):
        advance(state, num_steps)
        save(tmp_path, state)
        asked.append(num_states_to_come(tmp_path))

    assert asked == [3, 2, 1, 1]


def test_verifying_names_the_damaged_file(tmp_path: Path) -> None:
    state = small_state(CONFIG, small_network())
    advance(state, 1)
    path = save(tmp_path, state)
    assert verify_state(path).step == 1
    flip_a_bit(path / "moments2.safetensors")

    with pytest.raises(SealError, match=r"moments2\.safetensors: sha256"):
        verify_state(path)
