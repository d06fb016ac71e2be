"""The command `inspect`: what a cascade costs before anything starts, computed without allocating its weights.

Not a stage of the DVC graph. Parameters are counted, FLOPs are those of torch's counter for one forward pass.
"""

import json
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from minimagen.config import Params, UNetSection
from minimagen.models.unet import CHANNELS, UNet
from minimagen.text.locate import describe

BYTES_FP32 = 4
STATES_PER_WEIGHT = 5
"""Weight, gradient, two moments of AdamW and the average, all fp32."""
NUM_TEXT_TOKENS = 64


@dataclass(frozen=True, slots=True)
class UNetCost:
    """What one stage costs."""

    num_parameters: int
    gflop_forward: float
    """10^9 operations of a forward pass of one picture with a caption of 64 tokens; a multiply-add is two."""
    memory_bytes: int
    """Weights, gradients, moments and averages while training, in fp32; activations not counted."""


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
    return UNetCost(num_parameters, counter.get_total_flops() / 1e9, num_parameters * BYTES_FP32 * STATES_PER_WEIGHT)


def run_inspect(params: Params, *, as_json: bool) -> None:
    """Prints the costs of every stage, and of the whole cascade, as a table or as JSON."""
    encoder = params.text_encoder
    text_dim = describe(encoder.name, encoder.revision).text_dim
    costs = {name: unet_cost(params.unets[name], text_dim) for name in params.cascade}
    if as_json:
        unets = {
            name: {
                "num_parameters": cost.num_parameters,
                "gflop_forward": cost.gflop_forward,
                "memory_bytes": cost.memory_bytes,
            }
            for name, cost in costs.items()
        }
        total = sum(cost.num_parameters for cost in costs.values())
        described = {"name": encoder.name, "text_dim": text_dim, "max_length": encoder.max_length}
        print(json.dumps({"unets": unets, "text_encoder": described, "total_parameters": total}, indent=2))
        return
    table = Table("U-Net", "size", "parameters", "GFLOP forward", "training memory")
    for name, cost in costs.items():
        section = params.unets[name]
        size = f"{section.low_res_size or 'noise'} -> {section.image_size} px"
        memory = f"{cost.memory_bytes / 2**20:,.0f} MiB"
        table.add_row(name, size, f"{cost.num_parameters:,}", f"{cost.gflop_forward:,.2f}", memory)
    console = Console()
    console.print(table)
    console.print(f"text encoder {encoder.name}: {text_dim} numbers per token, {encoder.max_length} tokens at most")
    console.print("training memory: weights, gradients, moments and averages in fp32; activations come on top")
