"""The command `inspect`: what a cascade costs before anything starts, computed without allocating its weights.

Not a stage of the DVC graph. Parameters are counted, FLOPs are those of torch's counter for one forward pass.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from minimagen.config import Params, UNetSection
from minimagen.free_memory import free_bytes
from minimagen.models.unet import CHANNELS, UNet
from minimagen.stages.device import device_from_environment
from minimagen.text.locate import describe
from minimagen.training.memory import STATE_BYTES, gibibytes, memory_need

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


def run_inspect(params: Params, *, as_json: bool) -> None:
    """Prints the costs of every stage, and of the whole cascade, as a table or as JSON.

    Raises:
        ConfigError: the text encoder is unknown, or MINIMAGEN_DEVICE names what is not there.
    """
    encoder = describe(params.text_encoder.name, params.text_encoder.revision)
    costs = {name: unet_cost(params.unets[name], encoder.text_dim) for name in params.cascade}
    total = sum(cost.num_parameters for cost in costs.values())
    if as_json:
        described = {"name": encoder.name, "text_dim": encoder.text_dim, "max_length": params.text_encoder.max_length}
        unets = {name: asdict(cost) for name, cost in costs.items()}
        print(json.dumps({"unets": unets, "text_encoder": described, "total_parameters": total}, indent=2))
        return
    device = torch.device(device_from_environment())
    free = free_bytes(device)
    Console().print(cost_table(params, costs, device, free))
    print(f"{total:,} parameters in all; text encoder {encoder.name} of width {encoder.text_dim}")
    print(f"GFLOP: a forward pass of one picture with a caption of {NUM_TEXT_TOKENS} tokens")
    print("memory: weights, gradients, moments and averages in fp32, room to save them; activations come on top")
    if free is not None:
        print(f"fits: {gibibytes(free)} of {device.type} memory are free now; U-Nets train one after another")


def cost_table(params: Params, costs: Mapping[str, UNetCost], device: torch.device, free: int | None) -> Table:
    """Returns a row for each stage.

    Args:
        device: what it would train on.
        free: bytes of memory that are free there; None where nobody knows.
    """
    table = Table("U-Net", "size", "parameters", "GFLOP", "memory", "fits")
    for name, cost in costs.items():
        section = params.unets[name]
        needed = memory_need(cost.num_parameters, device).total_bytes
        fits = "unknown" if free is None else ("yes" if needed <= free else "no")
        table.add_row(
            name,
            f"{section.low_res_size or 'noise'} -> {section.image_size} px",
            f"{cost.num_parameters:,}",
            f"{cost.gflop_forward:,.2f}",
            gibibytes(needed),
            fits,
        )
    return table
