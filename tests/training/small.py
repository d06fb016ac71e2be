"""A training of seconds that needs no data set: a network of two layers that learns to undo a fixed mixing.

Shared by the tests of this folder and by the processes that they kill; imports no pytest.
"""

from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import nn

from minimagen.config import GridConfig, TrainingConfig
from minimagen.seeding import batch_indices, generator
from minimagen.shapes import PerSample
from minimagen.training.ema import Ema
from minimagen.training.loop import TrainState
from minimagen.training.optimizer import build_optimizer

NUM_SAMPLES = 24
NUM_FEATURES = 6
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class SmallBatch:
    """Samples with their names."""

    samples: torch.Tensor
    keys: tuple[str, ...]


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
        weight_decay=0.01,
        max_grad_norm=1.0,
        ema_decay=0.9,
        precision="fp32",
        crop="center",
        save_every=4,
        validate_every=10,
        num_validation_images=8,
        snapshot_epochs=(),
        grid=GridConfig(every=0, num_captions=1, num_steps=1, guidance_scale=1.0),
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


def small_batch(step: int, config: TrainingConfig) -> SmallBatch:
    """Returns the batch of a step."""
    samples = torch.randn(NUM_SAMPLES, NUM_FEATURES, generator=generator("samples"))
    indices = batch_indices(config.seed, step, config.batch_size, NUM_SAMPLES)
    return SmallBatch(samples[indices], tuple(f"sample-{index}" for index in indices.tolist()))


def small_loss(network: nn.Module, batch: SmallBatch, source: torch.Generator) -> PerSample:
    """Returns the squared error of undoing a rotation of noisy samples."""
    noisy = batch.samples + 0.1 * torch.randn(batch.samples.shape, generator=source)
    return (network(noisy.roll(1, dims=1)) - batch.samples).square().mean(dim=1)


def cpu_accelerator() -> Accelerator:
    """Returns an accelerator for plain fp32."""
    return Accelerator(cpu=True, mixed_precision="no")
