"""The way that layers take on processors, opened to float64, and the operators by which it is told from torch's own."""

from collections.abc import Callable, Iterable, Mapping

import pytest
import torch
from torch.overrides import TorchFunctionMode

OWN_OPERATORS = {
    "linear": "conv2d",
    "widest convolution": "pixel_unshuffle",
    "upsampling": "conv_transpose2d",
    "modulated norm": "flatten",
    "attention to tokens": "baddbmm",
}
"""What the way of processors computes each by and torch's own does not (``conv2d`` where there is no convolution)."""


def open_to_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets float64 go where on a CPU fp32 alone goes, so that it is compared to the digits of float64."""
    monkeypatch.setattr(
        "minimagen.models.cpu_kernels._is_plain_cpu",
        lambda x: x.device.type == "cpu" and x.dtype == torch.float64,
    )


class Operators(TorchFunctionMode):
    """Records the names of torch's functions that are called within the block."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Iterable[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        self.seen.add(func.__name__)
        return func(*args, **(kwargs or {}))
