"""The training loop: one optimiser step after another, each reported to the caller.

Knows no dataset, no diffusion and no files: batches and losses come from functions. It neither logs, nor prints, nor
saves. What step k does is a pure function of the state after step k - 1 and of (seed, k): a resumed run needs weights,
moments, averages and the number of the step, and no state of a random generator or of a data loader.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import torch
from accelerate import Accelerator
from torch import nn
from torch.optim import AdamW

from minimagen.config import TrainingConfig
from minimagen.seeding import derive_seed, generator
from minimagen.shapes import PerSample
from minimagen.training.ema import Ema, decay_at
from minimagen.training.optimizer import learning_rate_at, set_learning_rate

MIN_LOSS_SCALE = 1.0
MAX_NAMED_SAMPLES = 8


class TrainingDiverged(ArithmeticError):
    """A loss or gradient is no longer finite; the weights are those before the step.

    ``step`` is the failing one, from 1; ``sample_keys`` are the samples whose own loss is not finite, or the whole
    batch where only the gradient is not.
    """

    def __init__(self, step: int, what: str, sample_keys: Sequence[str]) -> None:
        named = ", ".join(sample_keys[:MAX_NAMED_SAMPLES])
        more = len(sample_keys) - MAX_NAMED_SAMPLES
        super().__init__(f"step {step}: {what}; samples {named}{f' and {more} more' if more > 0 else ''}")
        self.step, self.what, self.sample_keys = step, what, tuple(sample_keys)


@runtime_checkable
class Batch(Protocol):
    """What the loop knows of a batch: the name of each sample."""

    @property
    def keys(self) -> tuple[str, ...]: ...


BatchT = TypeVar("BatchT", bound=Batch)


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
    state: TrainState,
    *,
    batch_of: Callable[[int], BatchT],
    loss_of: Callable[[nn.Module, BatchT, torch.Generator], PerSample],
    config: TrainingConfig,
    num_steps: int,
    accelerator: Accelerator,
) -> Iterator[StepReport]:
    """Trains ``state`` in place up to ``num_steps`` and yields after each step; the caller may stop at any yield.

    Args:
        batch_of: the batch of a step (from 0).
        loss_of: the loss of each sample; draws all randomness from its generator, which is on the CPU.

    Raises:
        TrainingDiverged: before the update that would have spoilt the weights.

    Determinism: step k draws from generator(seed, "train", k); torch's global generators (dropout) are set from
    (seed, k) within the step and left as they were found.
    """
    while state.step < num_steps:
        learning_rate = learning_rate_at(state.step, config, num_steps)
        yield _advance(state, batch_of(state.step), loss_of, config, learning_rate, accelerator)


def _advance(
    state: TrainState,
    batch: BatchT,
    loss_of: Callable[[nn.Module, BatchT, torch.Generator], PerSample],
    config: TrainingConfig,
    learning_rate: float,
    accelerator: Accelerator,
) -> StepReport:
    step = state.step
    if not state.network.training:
        state.network.train()
    state.optimizer.zero_grad()
    set_learning_rate(state.optimizer, learning_rate)
    with _global_generators(config.seed, step, accelerator.device):
        with accelerator.autocast():
            losses = loss_of(state.network, batch, generator(config.seed, "train", step))
        loss = _finite_mean(losses, step, batch.keys)
        accelerator.backward(losses.mean())
    grad_norm, is_skipped = _update(state, config.max_grad_norm, accelerator, batch.keys)
    state.ema.update(state.network, decay_at(step + 1, config.ema_decay))
    state.step = step + 1
    return StepReport(step + 1, loss, grad_norm, learning_rate, len(batch.keys), is_skipped)


def _finite_mean(losses: PerSample, step: int, keys: Sequence[str]) -> float:
    is_finite = losses.detach().isfinite().tolist()
    culprits = [key for key, finite in zip(keys, is_finite, strict=True) if not finite]
    if culprits:
        raise TrainingDiverged(step + 1, "the loss is not finite", culprits)
    return losses.detach().mean().item()


def _update(
    state: TrainState, max_grad_norm: float, accelerator: Accelerator, keys: Sequence[str]
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
            raise TrainingDiverged(state.step + 1, f"the norm of the gradients is {grad_norm}", keys)
        state.optimizer.step()
        return grad_norm, False
    scaler.step(state.optimizer)
    scaler.update()
    if not is_finite and scaler.get_scale() < MIN_LOSS_SCALE:
        raise TrainingDiverged(state.step + 1, "gradients overflow even at a loss scale below 1", keys)
    return grad_norm, not is_finite


@contextmanager
def _global_generators(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """Seeds torch's global generators for one step and puts their states back: dropout can use no other."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # Not torch.manual_seed, which records a stack trace for devices that may come: 0.3 ms a step.
        torch.default_generator.manual_seed(derive_seed(seed, "dropout", step))
        if device.type == "cuda":
            torch.cuda.manual_seed(derive_seed(seed, "dropout", step))
        yield
