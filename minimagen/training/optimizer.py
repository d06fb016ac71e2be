"""AdamW and its learning rate, which is a pure function of the step: there is no scheduler with a state to save.

Knows no loss and no loop.
"""

import math

from torch import nn
from torch.optim import AdamW

from minimagen.config import TrainingConfig

BETA1 = 0.9
FINAL_RATE = 0.01


def build_optimizer(network: nn.Module, config: TrainingConfig) -> AdamW:
    """Returns AdamW (Loshchilov & Hutter 2019) over all weights; gains and biases, of one axis, are not decayed."""
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": weights, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return AdamW(groups, lr=config.learning_rate, betas=(BETA1, config.adam_beta2), fused=True)


def learning_rate_at(step: int, config: TrainingConfig, num_steps: int) -> float:
    """Learning rate of a step (from 0): peak (step + 1) / warmup while warming up, then the peak, or
    peak (r + (1 - r) (1 + cos(pi p)) / 2) with r = 1 % and p from 0 to 1 at the last step (SGDR, Loshchilov & Hutter
    2017, eq. 5)."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.decay == "constant":
        return config.learning_rate
    progress = (step - config.warmup_steps) / max(1, num_steps - 1 - config.warmup_steps)
    return config.learning_rate * (FINAL_RATE + (1.0 - FINAL_RATE) * 0.5 * (1.0 + math.cos(math.pi * progress)))


def set_learning_rate(optimizer: AdamW, learning_rate: float) -> None:
    """Sets the rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def count_steps(config: TrainingConfig, num_samples: int) -> int:
    """Returns the optimiser steps of a whole training, epochs being laid end to end without a remainder."""
    if config.num_steps is not None:
        return config.num_steps
    assert config.num_epochs is not None  # TrainingConfig has one of the two.
    return step_of_epoch(config.num_epochs, config.batch_size, num_samples)


def step_of_epoch(epoch: int, batch_size: int, num_samples: int) -> int:
    """Returns the optimiser steps after which every sample has been seen at least ``epoch`` times."""
    return math.ceil(epoch * num_samples / batch_size)
