"""What the training of one U-Net costs, counted without allocating its weights.

FLOPs are those of torch's counter for one forward pass.
"""

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from minimagen.config import UNetSection
from minimagen.models.unet import CHANNELS, UNet
from minimagen.training.memory import STATE_BYTES

NUM_TEXT_TOKENS = 64


@dataclass(frozen=True, slots=True)
class UNetCost:
    """What one stage costs."""

    num_parameters: int
    gflop_forward: float
    """10^9 operations of a forward pass of one picture with a caption of 64 tokens; a multiply-add is two."""
    memory_bytes: int
    """Weights, gradients, moments and averages while training, in fp32."""


def unet_cost(section: UNetSection, text_dim: int) -> UNetCost:
    """Counts parameters and operations of one stage on the meta device: nothing is allocated."""
    has_low_res = section.low_res_size is not None
    with torch.device("meta"):
        network = UNet(section.unet, text_dim=text_dim, has_low_res=has_low_res)
        picture, level = torch.empty(1, CHANNELS, section.image_size, section.image_size), torch.empty(1)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(
                picture,
                level,
                text_embeds=torch.empty(1, NUM_TEXT_TOKENS, text_dim),
                text_mask=torch.empty(1, NUM_TEXT_TOKENS, dtype=torch.bool),
                low_res=picture if has_low_res else None,
                low_res_level=level if has_low_res else None,
            )
    num_parameters = sum(parameter.numel() for parameter in network.parameters())
    return UNetCost(num_parameters, counter.get_total_flops() / 1e9, num_parameters * STATE_BYTES)
