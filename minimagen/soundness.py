"""Which numbers can be computed with: those whose squares are finite. Larger ones are on their way to infinity.

Knows no training.
"""

import torch
from torch import Tensor

from minimagen.shapes import SampleMask

MAX_MAGNITUDE = 1e18
"""Squares of larger numbers leave the range of fp32 (3.4e38) after a few additions."""


def is_sound(value: float) -> bool:
    """Whether a number can be computed with; NaN and infinity cannot."""
    return abs(value) <= MAX_MAGNITUDE


def sound_samples(*tensors: Tensor) -> SampleMask:
    """Returns which samples hold such numbers only; the first axis of every tensor is that of the samples."""
    largest = torch.stack([tensor.detach().flatten(1).float().abs().amax(dim=1) for tensor in tensors])
    return (largest <= MAX_MAGNITUDE).all(dim=0)
