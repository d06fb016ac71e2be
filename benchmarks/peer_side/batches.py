"""Random pictures and captions of a case, and plain training steps around a peer's own loss.

The step is generous: gradients clipped, AdamW as one fused kernel, no average of weights, no data to load.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TextIO

import torch
from case import Case, serve
from matrix_rate import count_flops
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class RandomBatch:
    """Pictures in [0, 1], as both peers want them, with encoded captions."""

    images: Tensor
    text_embeds: Tensor
    text_mask: Tensor


def random_batch(case: Case, size_px: int) -> RandomBatch:
    """Draws the one batch that every step sees."""
    generator = torch.Generator().manual_seed(0)
    return RandomBatch(
        torch.rand(case.batch_size, 3, size_px, size_px, generator=generator),
        torch.randn(case.batch_size, case.num_tokens, case.text_dim, generator=generator),
        torch.ones(case.batch_size, case.num_tokens, dtype=torch.bool),
    )


def training_step(network: nn.Module, loss_of: Callable[[], Tensor]) -> Callable[[], None]:
    """Returns forward, backward, clip and AdamW of one network as a function."""
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.01, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        loss_of().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return step


def serve_training(output: TextIO, case: Case, imagen: nn.Module) -> None:
    """Trains the case's U-Net of a peer's cascade, base and super, whenever the driver asks.

    Args:
        imagen: the peer's; both peers have ``unets`` and the same call for a loss.
    """
    number = ("base", "super").index(case.stage) + 1
    network = list(imagen.unets)[number - 1]
    batch = random_batch(case, (case.base_px, case.super_px)[number - 1])
    loss_of = partial(
        imagen, batch.images, text_embeds=batch.text_embeds, text_masks=batch.text_mask, unet_number=number
    )
    step = training_step(network.train(), loss_of)
    facts = {"num_parameters": count_parameters(network), "flops": count_flops(step), "torch": torch.__version__}
    serve(output, facts, step)


def count_parameters(network: nn.Module) -> int:
    """Returns how many numbers are trained."""
    return sum(parameter.numel() for parameter in network.parameters())
