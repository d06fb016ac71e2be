"""The command `inspect`: what a cascade costs before anything starts, computed without allocating its weights.

Not a stage of the DVC graph. Parameters are counted, FLOPs are those of torch's counter for one forward pass.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict

import torch
from rich.console import Console
from rich.table import Table

from minimagen.config import Params, UNetSection
from minimagen.free_memory import free_bytes
from minimagen.stages.device import device_from_environment
from minimagen.text.locate import describe
from minimagen.training.cost import NUM_TEXT_TOKENS, UNetCost, unet_cost
from minimagen.training.forecast import clock, estimate_seconds, forecast
from minimagen.training.memory import gibibytes, memory_need
from minimagen.training.optimizer import count_steps


def run_inspect(params: Params, *, as_json: bool, num_pictures: int | None = None) -> None:
    """Prints the costs of every stage, and of the whole cascade, as a table or as JSON.

    Args:
        num_pictures: training pictures that there will be; None if nobody says.

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
    for name in params.cascade:
        print(plan_of(name, params.unets[name], costs[name], device, num_pictures))


def plan_of(
    name: str, section: UNetSection, cost: UNetCost, device: torch.device, num_pictures: int | None = None
) -> str:
    """Returns a line on how long a training is, beside the nearest one on record and by the clock of this machine."""
    if section.training.num_steps is None and num_pictures is None:
        passes = f"{section.training.num_epochs:,} passes over the training pictures"
        return f"{name}: {passes}, however many there will be: --pictures says how many, and then how long"
    num_steps = count_steps(section.training, num_pictures or 0)
    planned = forecast(
        name, section, num_parameters=cost.num_parameters, num_steps=num_steps, num_pictures=num_pictures
    )
    seconds = estimate_seconds(cost.gflop_forward, planned.num_seen, num_steps, device)
    return f"{planned}; about {clock(seconds)} on this machine"


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
