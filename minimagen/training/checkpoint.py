"""Run states: all that a training needs to go on exactly as if it had never stopped.

    <run folder>/states/step-00000500/
        weights.safetensors  averages.safetensors  moments1.safetensors  moments2.safetensors
        state.json           step, update counts, loss scale, environment, and what else goes on with it
        MANIFEST.json        SHA-256 of each file

The newest state that verifies counts; the one before it is kept for the day on which the newest does not. There is no
random state to keep: randomness is a function of (seed, step). Nothing that is not finite is ever written.
"""

import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, ValidationError
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from minimagen.config import Section
from minimagen.errors import UserError
from minimagen.files import canonical_json
from minimagen.sealed import MANIFEST, SealError, read_sealed, remove_leftovers, write_sealed
from minimagen.tensor_file import read_tensors, tensor_bytes
from minimagen.training.loop import TrainState

logger = logging.getLogger(__name__)

FORMAT_VERSION = 2
"""Written. Version 1 lacks the last field of state.json and is read as well: every released version is."""
NUM_KEPT = 2
Count = Annotated[int, Field(ge=0, le=2**53)]
_MOMENTS = {"moments1": "exp_avg", "moments2": "exp_avg_sq"}


class CheckpointError(UserError):
    """A state that cannot be gone on from; the message names the file."""


class Environment(Section):
    """What a bit-exact continuation depends on beside the state."""

    torch: str
    device_kind: Literal["cpu", "cuda"]
    num_threads: int
    num_processes: int = 1


class LossScale(Section):
    """The state of fp16's gradient scaler."""

    scale: float
    growth_tracker: int


class StateRecord(Section):
    """What state.json holds."""

    step: Count
    """Optimiser steps done."""
    num_updates: dict[str, Count]
    """Updates of each parameter, by name; fp16 skips some steps."""
    loss_scale: LossScale | None
    """None unless the precision is fp16."""
    unreported_losses: tuple[float, ...]
    """Losses of the steps since the last one that was reported."""
    environment: Environment
    quarantined: tuple[str, ...] = ()
    """Keys of the samples that are never drawn again."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What goes on beside the training state."""

    unreported_losses: tuple[float, ...] = ()
    quarantined: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Resumed:
    """What the caller has to take up again."""

    step: int
    beside: Beside


def current_environment(device: torch.device) -> Environment:
    """Returns the environment of this process."""
    return Environment(
        torch=torch.__version__,
        device_kind="cuda" if device.type == "cuda" else "cpu",
        num_threads=torch.get_num_threads(),
        num_processes=torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1,
    )


def state_path(folder: Path, step: int) -> Path:
    """Returns where the state after ``step`` steps is saved."""
    return folder / f"step-{step:08d}"


def state_bytes(state: TrainState) -> int:
    """Returns about how large a saved state is: weights, averages and two moments, all fp32."""
    return 4 * 4 * sum(parameter.numel() for parameter in state.network.parameters())


def num_states_to_come(folder: Path) -> int:
    """Returns for how many more states a training that goes on in a folder needs room: one more than are kept, since
    the oldest goes once the newest is whole."""
    return max(1, NUM_KEPT + 1 - len(_states(folder)))


def save_state(
    folder: Path,
    state: TrainState,
    *,
    scaler: GradScaler | None,
    beside: Beside,
    device: torch.device,
) -> Path:
    """Saves a state as ``folder/step-N`` and removes all but the newest two.

    Raises:
        NotFiniteError: a tensor holds NaN or infinity.
        OSError: the disk refused; earlier states are untouched and nothing half-written stays.
    """
    record = StateRecord(
        step=state.step,
        num_updates={name: int(slot["step"].item()) for name, slot in _slots(state)},
        loss_scale=_loss_scale(scaler),
        unreported_losses=beside.unreported_losses,
        environment=current_environment(device),
        quarantined=beside.quarantined,
    )
    target = state_path(folder, state.step)
    write_sealed(target, _contents(state, record), {"format_version": FORMAT_VERSION})
    for path in _states(folder)[:-NUM_KEPT]:
        shutil.rmtree(path)
    return target


def load_newest(folder: Path, state: TrainState, *, scaler: GradScaler | None, device: torch.device) -> Resumed | None:
    """Puts the newest state that verifies into ``state``; returns None if there is none at all.

    States that do not verify, or cannot be read, are named in the log and removed once an older one does. What a dead
    writer left behind is removed. A state of another environment is taken, and the log says that the continuation is
    not bit-exact.

    Raises:
        CheckpointError: there are states but none verifies, or the state is of a newer format or another network.
    """
    if not folder.is_dir():
        return None
    remove_leftovers(folder)
    refused: dict[Path, str] = {}
    for path in reversed(_states(folder)):
        try:
            record = verify_state(path)
        except (SealError, OSError) as error:
            refused[path] = str(error)
            continue
        _load_tensors(path, record, state)
        _restore(state, record, scaler)
        for other, reason in refused.items():
            logger.warning("%s is damaged, going on from %s: %s", other, path, reason)
            shutil.rmtree(other)
        _tell_differences(path, record.environment, current_environment(device))
        return Resumed(record.step, Beside(record.unreported_losses, record.quarantined))
    if refused:
        raise CheckpointError("no state can be gone on from: " + "; ".join(refused.values()))
    return None


def verify_state(path: Path) -> StateRecord:
    """Checks a saved state and returns what its state.json says.

    Raises:
        SealError: a file is missing or changed.
        CheckpointError: the format is newer than this program, or state.json is not of its format.
    """
    version = read_sealed(path).get("format_version")
    if version not in range(1, FORMAT_VERSION + 1):
        raise CheckpointError(
            f"{path / MANIFEST}: format version {version}, this program reads 1 to {FORMAT_VERSION}: "
            f"use the program that wrote it, or a newer one"
        )
    try:
        return StateRecord.model_validate_json((path / "state.json").read_bytes())
    except ValidationError as error:
        raise CheckpointError(f"{path / 'state.json'}: not a state record: {error}") from error


def _contents(state: TrainState, record: StateRecord) -> Iterator[tuple[str, bytes]]:
    for name, tensors in _tensor_files(state):
        yield f"{name}.safetensors", tensor_bytes(tensors, f"{name} of step {state.step}")
    yield "state.json", canonical_json(record.model_dump(mode="json")).encode()


def _tensor_files(state: TrainState) -> Iterator[tuple[str, dict[str, Tensor]]]:
    yield "weights", dict(state.network.named_parameters())
    yield "averages", state.ema.tensors
    for file, moment in _MOMENTS.items():
        yield file, {name: slot[moment] for name, slot in _slots(state)}


def _slots(state: TrainState) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yields the optimiser's tensors of each parameter that it has updated."""
    for name, parameter in state.network.named_parameters():
        slot = state.optimizer.state.get(parameter)
        if slot:
            yield name, slot


@torch.no_grad()
def _load_tensors(path: Path, record: StateRecord, state: TrainState) -> None:
    parameters = dict(state.network.named_parameters())
    weights, averages = (_tensors_of(path, name, state.network) for name in ("weights", "averages"))
    moments = {file: _tensors_of(path, file, state.network, is_whole=False) for file in _MOMENTS}
    if any(found.keys() != record.num_updates.keys() for found in moments.values()):
        raise CheckpointError(f"{path / 'state.json'}: num_updates names other parameters than the moments")
    for name, parameter in parameters.items():
        parameter.copy_(weights[name])
    state.ema.load(averages)
    state.optimizer.state.clear()
    for file, moment in _MOMENTS.items():
        for name, saved in moments[file].items():
            # The fused update walks memory, so a moment must have the layout of its parameter.
            value = torch.empty_like(parameters[name]).copy_(saved)
            state.optimizer.state[parameters[name]][moment] = value


def _restore(state: TrainState, record: StateRecord, scaler: GradScaler | None) -> None:
    parameters = dict(state.network.named_parameters())
    for name, count in record.num_updates.items():
        parameter = parameters[name]
        state.optimizer.state[parameter]["step"] = torch.tensor(float(count), device=parameter.device)
    state.step = record.step
    if scaler is not None and record.loss_scale is not None:
        saved = {"scale": record.loss_scale.scale, "_growth_tracker": record.loss_scale.growth_tracker}
        scaler.load_state_dict({**scaler.state_dict(), **saved})


def _loss_scale(scaler: GradScaler | None) -> LossScale | None:
    if scaler is None:
        return None
    found = scaler.state_dict()
    return LossScale(scale=found["scale"], growth_tracker=found["_growth_tracker"])


def _tell_differences(path: Path, then: Environment, now: Environment) -> None:
    if then != now:
        logger.warning("%s was saved under %s, now %s: the continuation is not bit-exact", path, then, now)


def _tensors_of(path: Path, file: str, network: nn.Module, *, is_whole: bool = True) -> dict[str, Tensor]:
    """Reads one of a state's files, before anything of the training is changed.

    Args:
        is_whole: there is a tensor for each parameter; of moments only for those that were updated.
    """
    found, parameters = read_tensors(path / f"{file}.safetensors"), dict(network.named_parameters())
    wanted = parameters if is_whole else {name: parameters[name] for name in found.keys() & parameters.keys()}
    if _shapes(found) != _shapes(wanted):
        raise CheckpointError(f"{path / f'{file}.safetensors'}: another network's: names or shapes differ")
    return found


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _states(folder: Path) -> list[Path]:
    """Returns the saved states, oldest first."""
    return sorted(folder.glob("step-" + "[0-9]" * 8))
