"""A training of seconds that needs no data set: a network of two layers that learns to undo a fixed mixing.

Shared by the tests of this folder and by the processes that they kill; imports no pytest.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import nn

from minimagen.config import ExecutionConfig, GridConfig, TrainingConfig
from minimagen.seeding import batch_indices, generator
from minimagen.shapes import PerSample
from minimagen.soundness import sound_samples
from minimagen.training.ema import Ema
from minimagen.training.loop import Task, TrainState
from minimagen.training.optimizer import build_optimizer

NUM_SAMPLES = 24
NUM_FEATURES = 6
CPU = torch.device("cpu")
PLAIN = ExecutionConfig(accumulate=1, recompute=False, compile=False, channels_last=False)


@dataclass(frozen=True, slots=True)
class SmallBatch:
    """Samples with their names."""

    samples: torch.Tensor
    keys: tuple[str, ...]

    @property
    def soundness(self) -> torch.Tensor:
        """Which samples can be computed with."""
        return sound_samples(self.samples)


@dataclass(frozen=True, slots=True)
class SmallDraws:
    """The noise of samples."""

    noise: torch.Tensor

    def part(self, positions: slice) -> "SmallDraws":
        """Returns the noise of some of them."""
        return SmallDraws(self.noise[positions])


def small_config(**changes: object) -> TrainingConfig:
    """Returns a short training."""
    config = TrainingConfig(
        seed=3,
        num_steps=40,
        num_epochs=None,
        batch_size=8,
        learning_rate=1e-2,
        warmup_steps=4,
        decay="cosine",
        adam_beta2=0.99,
        weight_decay=0.01,
        max_grad_norm=1.0,
        ema_decay=0.9,
        precision="fp32",
        crop="center",
        warp_prob=0.0,
        execution=PLAIN,
        crop_size=None,
        save_every=4,
        validate_every=10,
        num_validation_images=8,
        snapshot_epochs=(),
        grid=GridConfig(every=0, num_captions=1, num_steps=1, guidance_scale=1.0, on_copying="warn"),
    )
    return config.model_copy(update=changes)


def small_network(dropout: float = 0.0) -> nn.Module:
    """Returns a network whose weights depend on nothing but this function."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(NUM_FEATURES, 16), nn.SiLU(), nn.Dropout(dropout), nn.Linear(16, NUM_FEATURES))


def small_state(config: TrainingConfig, network: nn.Module | None = None) -> TrainState:
    """Returns the state before the first step."""
    network = small_network() if network is None else network
    return TrainState(network, build_optimizer(network, config), Ema(network))


def small_batch(step: int, config: TrainingConfig, positions: slice = slice(None)) -> SmallBatch:
    """Returns the batch of a step, or a part of it."""
    samples = torch.randn(NUM_SAMPLES, NUM_FEATURES, generator=generator("samples"))
    indices = batch_indices(config.seed, step, config.batch_size, NUM_SAMPLES)[positions]
    return SmallBatch(samples[indices], tuple(f"sample-{index}" for index in indices.tolist()))


def small_draw(num_samples: int, source: torch.Generator) -> SmallDraws:
    """Draws the noise of a batch."""
    return SmallDraws(torch.randn(num_samples, NUM_FEATURES, generator=source))


def small_loss(network: nn.Module, batch: SmallBatch, draws: SmallDraws) -> PerSample:
    """Returns the squared error of undoing a rotation of noisy samples."""
    noisy = batch.samples + 0.1 * draws.noise
    return (network(noisy.roll(1, dims=1)) - batch.samples).square().mean(dim=1)


def small_task(
    config: TrainingConfig, loss_of: Callable[[nn.Module, SmallBatch, SmallDraws], PerSample] = small_loss
) -> Task[SmallBatch, SmallDraws]:
    """Returns what is learned."""
    return Task(lambda step, positions: small_batch(step, config, positions), small_draw, loss_of)


def cpu_accelerator() -> Accelerator:
    """Returns an accelerator for plain fp32."""
    return Accelerator(cpu=True, mixed_precision="no")
