"""What has to hold of a network, as functions: tests of sound networks call them, and so does the test of broken ones.

Each raises AssertionError. A network is any callable with the keywords of the U-Net.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.testing import assert_close

Network = Callable[..., torch.Tensor]
Inputs = dict[str, torch.Tensor]


def check_the_caption_is_heard(network: Network, inputs: Inputs) -> None:
    """Another caption, another prediction."""
    assert _differ(network(**inputs), network(**(inputs | {"text_embeds": -inputs["text_embeds"]})))


def check_the_time_is_heard(network: Network, inputs: Inputs) -> None:
    """Another time, another prediction."""
    assert _differ(network(**inputs), network(**(inputs | {"t": inputs["t"] * 0.5})))


def check_every_weight_learns(network: nn.Module, inputs: Inputs) -> None:
    """Every parameter has a gradient that is somewhere not 0."""
    network.zero_grad()
    (network(**inputs) + 1.0).square().mean().backward()
    silent = [name for name, parameter in network.named_parameters() if not _is_told(parameter)]
    assert silent == []


def check_gradients_are_differences(network: nn.Module, inputs: Inputs, *, step: float = 1e-5) -> None:
    """The gradient along a random direction of all weights is the central difference of the loss (in float64)."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    source = torch.Generator().manual_seed(0)
    directions = [torch.randn(each.shape, generator=source, dtype=each.dtype) for each in parameters]

    def loss_at(distance: float) -> torch.Tensor:
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter += distance * direction
            loss = (network(**inputs) + 1.0).square().mean()
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter -= distance * direction
        return loss

    network.zero_grad()
    (network(**inputs) + 1.0).square().mean().backward()
    along = sum(
        (each.grad * direction).sum()
        for each, direction in zip(parameters, directions, strict=True)
        if each.grad is not None
    )
    assert isinstance(along, torch.Tensor)
    assert_close(along, (loss_at(step) - loss_at(-step)) / (2 * step), rtol=1e-5, atol=1e-7)


def _differ(left: torch.Tensor, right: torch.Tensor) -> bool:
    return not torch.allclose(left, right, rtol=1e-3, atol=1e-4)


def _is_told(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and bool(parameter.grad.any())
