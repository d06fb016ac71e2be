"""The training loop: one optimiser step after another, each reported to the caller.

Knows no dataset, no diffusion and no files: batches and losses come from functions. It neither logs, nor prints, nor
saves. What step k does is a pure function of the state after step k - 1 and of (seed, k): a resumed run needs weights,
moments, averages and the number of the step, and no state of a random generator or of a data loader.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar, runtime_checkable

import torch
from accelerate import Accelerator
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import AdamW

from minimagen.config import TrainingConfig
from minimagen.seeding import derive_seed, generator
from minimagen.shapes import PerSample, SampleMask
from minimagen.training.ema import Ema, decay_at
from minimagen.training.faults import Fault, StateSpoilt, TrainingDiverged, fault_of, spoilt_parts, state_norms
from minimagen.training.optimizer import learning_rate_at, set_learning_rate
from minimagen.training.ranks import Ranks

MIN_LOSS_SCALE = 1.0


@runtime_checkable
class Batch(Protocol):
    """What the loop knows of a batch, or of a part of one: each sample's name, and whether its numbers are sound."""

    @property
    def keys(self) -> tuple[str, ...]: ...

    @property
    def soundness(self) -> SampleMask: ...


OwnT = TypeVar("OwnT")


@runtime_checkable
class Draws(Protocol):
    """What the loop knows of the random numbers of a batch: those of some of its samples can be had."""

    def part(self: OwnT, positions: slice) -> OwnT: ...


BatchT = TypeVar("BatchT", bound=Batch)
DrawsT = TypeVar("DrawsT", bound=Draws)


@dataclass(frozen=True, slots=True)
class Task(Generic[BatchT, DrawsT]):
    """What is learned, as three functions. A part of a batch is given by its positions in it."""

    batch_of: Callable[[int, slice], BatchT]
    """Part of the batch of a step (from 0)."""
    draw: Callable[[int, torch.Generator], DrawsT]
    """All randomness of a batch of so many samples, from a generator on the CPU."""
    loss_of: Callable[[nn.Module, BatchT, DrawsT], PerSample]
    """The loss of each sample of a part, under the draws of that part."""


@dataclass(slots=True)
class TrainState:
    """All that training changes. ``step`` counts the optimiser steps done."""

    network: nn.Module
    optimizer: AdamW
    ema: Ema
    step: int = 0


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one optimiser step did."""

    step: int
    """Steps done, from 1."""
    loss: float
    """Mean over the batch, before the update; not finite only if there is a fault."""
    grad_norm: float
    """Global L2 norm before clipping; not finite only if ``is_skipped`` or there is a fault."""
    learning_rate: float
    num_images: int
    is_skipped: bool
    """fp16 only: gradients overflowed, the weights stayed and the loss scale was halved."""
    fault: Fault | None = None
    """Set if the step was counted, but changed no weight, moment or average."""


def train(
    state: TrainState, task: Task[BatchT, DrawsT], *, config: TrainingConfig, num_steps: int, accelerator: Accelerator
) -> Iterator[StepReport]:
    """Trains ``state`` in place up to ``num_steps`` and yields after each step; the caller may stop at any yield.

    A batch is cut into parts by position, for processes and for ``execution.accumulate``: the gradient of a step is
    that of the mean loss over the whole batch, however it is cut, but for rounding.

    Numbers gone bad are met before the update that they would spoil: a step whose samples, losses or gradients are not
    sound is counted and changes nothing else (``StepReport.fault``). What an update itself spoils is met in the next
    step, or after the last one: until then the caller finds it by ``spoilt_parts_of``.

    Raises:
        ConfigError: there are more parts than samples.
        StateSpoilt: weights, moments or averages are not sound, in any process; raised in every one. The caller may put
            another state in place and call again.
        TrainingDiverged: fp16 alone: gradients overflow at every loss scale.

    Determinism: step k draws from generator(seed, "train", k), for the whole batch in every process; torch's global
    generators (dropout) are set from (seed, k, position of the process's first sample) within the step and left as they
    were found.
    """
    ranks = Ranks(accelerator)
    parts = ranks.parts(config.batch_size, config.execution.accumulate)
    connected = ranks.connect(state.network, config.execution)
    state.network.train()
    while state.step < num_steps:
        set_learning_rate(state.optimizer, learning_rate_at(state.step, config, num_steps))
        with _global_generators(config.seed, state.step, parts[0].start, accelerator.device):
            found = _differentiate(state, connected, task, config, parts, ranks)
        yield _advance(state, found, config, ranks)
    spoilt = spoilt_parts_of(state)  # by the last update, which no step follows
    if ranks.any_of(bool(spoilt)):
        raise StateSpoilt(state.step + 1, spoilt)


def spoilt_parts_of(state: TrainState) -> list[str]:
    """Returns which parts of a state are not sound, between two steps; a GPU is waited for."""
    norms = state_norms(list(state.network.parameters()), state.optimizer, state.ema.tensors.values())
    return spoilt_parts(torch.stack(norms).tolist())


@dataclass(frozen=True, slots=True)
class _Found:
    """What a step found out before its update."""

    losses: PerSample
    """Those of the whole batch; NaN where the sample itself is not sound."""
    keys: Callable[[], Sequence[str]]
    """Whose they are; asked for in all processes or in none."""


def _differentiate(
    state: TrainState,
    connected: nn.Module,
    task: Task[BatchT, DrawsT],
    config: TrainingConfig,
    parts: Sequence[slice],
    ranks: Ranks,
) -> _Found:
    """Computes the gradients of the mean loss, part by part."""
    accelerator, num_samples = ranks.accelerator, config.batch_size
    draws = task.draw(num_samples, generator(config.seed, "train", state.step))
    losses: list[PerSample] = []
    keys: list[str] = []
    state.optimizer.zero_grad()
    for positions in parts:
        batch = task.batch_of(state.step, positions)
        is_last = positions is parts[-1]
        with nullcontext() if is_last else accelerator.no_sync(connected):
            with accelerator.autocast():
                part = task.loss_of(connected, batch, draws.part(positions))
            # Averaged over processes afterwards, hence their number.
            accelerator.backward(part.sum() * (ranks.num_processes / num_samples))
        losses.append(part.detach().where(batch.soundness.to(part.device), math.nan))
        keys += batch.keys
    return _Found(ranks.whole(torch.cat(losses).float(), parts[0].start, num_samples), partial(ranks.joined, keys))


def _advance(state: TrainState, found: _Found, config: TrainingConfig, ranks: Ranks) -> StepReport:
    """Moves weights and averages along the gradients, unless something is not sound."""
    scaler = ranks.accelerator.scaler
    if scaler is not None:
        scaler.unscale_(state.optimizer)
    parameters = list(state.network.parameters())  # asked for once, since it walks through all modules
    grad_norm = torch.nn.utils.get_total_norm([weight.grad for weight in parameters if weight.grad is not None])
    parts = state_norms(parameters, state.optimizer, state.ema.tensors.values())
    # Read at once, since a GPU is waited for each time.
    read = torch.cat([torch.stack([found.losses.mean(), grad_norm, *parts]), found.losses]).tolist()
    (loss, norm, *norms), losses = read[: -config.batch_size], read[-config.batch_size :]
    spoilt = spoilt_parts(norms)
    is_spoilt = ranks.any_of(bool(spoilt))
    fault = fault_of(losses, norm, found.keys, has_scaler=scaler is not None)
    if scaler is not None and (is_spoilt or fault):
        scaler.update()  # else it would refuse to unscale the next gradients
    if is_spoilt:
        raise StateSpoilt(state.step + 1, spoilt)
    if norm >= config.max_grad_norm:
        torch.nn.utils.clip_grads_with_norm_(parameters, config.max_grad_norm, grad_norm)
    is_skipped = fault is None and _update(state, norm, scaler, found.keys)
    state.step += 1
    if fault is None:
        state.ema.update(parameters, decay_at(state.step, config.ema_decay))
    return StepReport(
        step=state.step,
        loss=loss,
        grad_norm=norm,
        learning_rate=state.optimizer.param_groups[0]["lr"],
        num_images=config.batch_size,
        is_skipped=is_skipped,
        fault=fault,
    )


def _update(state: TrainState, grad_norm: float, scaler: GradScaler | None, keys: Callable[[], Sequence[str]]) -> bool:
    """Moves the weights; returns whether fp16 skipped the step."""
    if scaler is None:
        state.optimizer.step()
        return False
    scaler.step(state.optimizer)
    scaler.update()
    is_finite = math.isfinite(grad_norm)
    if not is_finite and scaler.get_scale() < MIN_LOSS_SCALE:
        raise TrainingDiverged(state.step + 1, "gradients overflow even at a loss scale below 1", keys())
    return not is_finite


@contextmanager
def _global_generators(seed: int, step: int, start: int, device: torch.device) -> Iterator[None]:
    """Seeds torch's global generators for one step and puts their states back: dropout can use no other."""
    own_seed = derive_seed(seed, "dropout", step) + start
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # Not torch.manual_seed, which records a stack trace for devices that may come: 0.3 ms a step.
        torch.default_generator.manual_seed(own_seed)
        if device.type == "cuda":
            torch.cuda.manual_seed(own_seed)
        yield
