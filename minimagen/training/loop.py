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
from torch.optim import AdamW

from minimagen.config import TrainingConfig
from minimagen.errors import UserError
from minimagen.seeding import derive_seed, generator
from minimagen.shapes import PerSample
from minimagen.training.ema import Ema, decay_at
from minimagen.training.optimizer import learning_rate_at, set_learning_rate
from minimagen.training.ranks import Ranks

MIN_LOSS_SCALE = 1.0
MAX_NAMED_SAMPLES = 8


class TrainingDiverged(UserError):
    """A loss or gradient is no longer finite; the weights are those before the step.

    ``step`` is the failing one, from 1; ``sample_keys`` are the samples whose own loss is not finite, or the whole
    batch where only the gradient is not.
    """

    def __init__(self, step: int, what: str, sample_keys: Sequence[str]) -> None:
        named = ", ".join(sample_keys[:MAX_NAMED_SAMPLES])
        more = len(sample_keys) - MAX_NAMED_SAMPLES
        super().__init__(
            f"step {step}: {what}; samples {named}{f' and {more} more' if more > 0 else ''}: "
            f"lower training.learning_rate or lengthen warmup_steps, or look at what is special in these samples"
        )
        self.step, self.what, self.sample_keys = step, what, tuple(sample_keys)


@runtime_checkable
class Batch(Protocol):
    """What the loop knows of a batch, or of a part of one: the name of each sample."""

    @property
    def keys(self) -> tuple[str, ...]: ...


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
    """Mean over the batch, before the update."""
    grad_norm: float
    """Global L2 norm before clipping; not finite only if ``is_skipped``."""
    learning_rate: float
    num_images: int
    is_skipped: bool
    """fp16 only: gradients overflowed, the weights stayed and the loss scale was halved."""


def train(
    state: TrainState, task: Task[BatchT, DrawsT], *, config: TrainingConfig, num_steps: int, accelerator: Accelerator
) -> Iterator[StepReport]:
    """Trains ``state`` in place up to ``num_steps`` and yields after each step; the caller may stop at any yield.

    A batch is cut into parts by position, for processes and for ``execution.accumulate``: the gradient of a step is
    that of the mean loss over the whole batch, however it is cut, but for rounding.

    Raises:
        ConfigError: there are more parts than samples.
        TrainingDiverged: before the update that would have spoilt the weights, in every process.

    Determinism: step k draws from generator(seed, "train", k), for the whole batch in every process; torch's global
    generators (dropout) are set from (seed, k, position of the process's first sample) within the step and left as they
    were found.
    """
    ranks = Ranks(accelerator)
    parts = ranks.parts(config.batch_size, config.execution.accumulate)
    connected = ranks.connect(state.network, config.execution)
    while state.step < num_steps:
        if not state.network.training:
            state.network.train()
        set_learning_rate(state.optimizer, learning_rate_at(state.step, config, num_steps))
        with _global_generators(config.seed, state.step, parts[0].start, accelerator.device):
            found = _differentiate(state, connected, task, config, parts, ranks)
        yield _advance(state, found, config, accelerator)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a step found out before its update."""

    losses: PerSample
    """Those of the whole batch."""
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
        losses.append(part.detach())
        keys += batch.keys
    return _Found(ranks.whole(torch.cat(losses), parts[0].start, num_samples), partial(ranks.joined, keys))


def _advance(state: TrainState, found: _Found, config: TrainingConfig, accelerator: Accelerator) -> StepReport:
    """Moves weights and averages along the gradients."""
    is_finite = found.losses.isfinite().tolist()
    if not all(is_finite):
        culprits = [key for key, finite in zip(found.keys(), is_finite, strict=True) if not finite]
        raise TrainingDiverged(state.step + 1, "the loss is not finite", culprits)
    grad_norm, is_skipped = _update(state, config.max_grad_norm, accelerator, found.keys)
    state.step += 1
    state.ema.update(state.network, decay_at(state.step, config.ema_decay))
    return StepReport(
        step=state.step,
        loss=found.losses.mean().item(),
        grad_norm=grad_norm,
        learning_rate=state.optimizer.param_groups[0]["lr"],
        num_images=config.batch_size,
        is_skipped=is_skipped,
    )


def _update(
    state: TrainState, max_grad_norm: float, accelerator: Accelerator, keys: Callable[[], Sequence[str]]
) -> tuple[float, bool]:
    """Clips the gradients and moves the weights; returns the norm before clipping and whether fp16 skipped the step."""
    scaler = accelerator.scaler
    if scaler is not None:
        scaler.unscale_(state.optimizer)
    parameters = [parameter for group in state.optimizer.param_groups for parameter in group["params"]]
    grad_norm = torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm).item()
    is_finite = math.isfinite(grad_norm)
    if scaler is None:
        if not is_finite:
            raise TrainingDiverged(state.step + 1, f"the norm of the gradients is {grad_norm}", keys())
        state.optimizer.step()
        return grad_norm, False
    scaler.step(state.optimizer)
    scaler.update()
    if not is_finite and scaler.get_scale() < MIN_LOSS_SCALE:
        raise TrainingDiverged(state.step + 1, "gradients overflow even at a loss scale below 1", keys())
    return grad_norm, not is_finite


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
