"""The exponential moving average of a network's weights: always fp32, since in bf16 it would not move at all.

Knows nothing of what the network computes.
"""

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


def decay_at(step: int, ema_decay: float) -> float:
    """min(ema_decay, (1 + step) / (10 + step)) after ``step`` optimiser steps, so that early averages forget the
    initial weights."""
    return min(ema_decay, (1.0 + step) / (10.0 + step))


class Ema:
    """Averages of a network's parameters, by name and in the layout of the parameters, on their device.

    Raises:
        ValueError: the network has buffers (running statistics), which an average of parameters does not cover.
    """

    def __init__(self, network: nn.Module) -> None:
        buffers = [name for name, _ in network.named_buffers()]
        if buffers:
            raise ValueError(f"the network has buffers, which cannot be averaged: {', '.join(buffers)}")
        self.tensors: dict[str, Tensor] = {
            name: parameter.detach().to(torch.float32, copy=True) for name, parameter in network.named_parameters()
        }
        # Not functional_call, which for its time puts the averages into the trained network itself: a signal that ends
        # a measurement there would leave them in it.
        own = {id(old): nn.Parameter(self.tensors[name], False) for name, old in network.named_parameters()}
        self.network = copy.deepcopy(network, own).eval()
        """The network computed with the averages, out of training mode; they are its weights, so it is always current.

        It shares nothing with the network that is trained."""

    @torch.no_grad()
    def update(self, parameters: Iterable[nn.Parameter], decay: float) -> None:
        """average <- decay average + (1 - decay) parameter; the parameters are the network's, in its order."""
        current = [parameter.detach().float() for parameter in parameters]
        get_ema_multi_avg_fn(decay)(list(self.tensors.values()), current, None)

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes over averages saved under the same names.

        Raises:
            KeyError: an average is missing.
        """
        for name, average in self.tensors.items():
            average.copy_(tensors[name])
