"""A plain word for a grid of drawn pictures: blank, noise, shapes, or pictures that match their captions.

Compares them with the real pictures of the same captions. Knows no network, file or step; which captions were found
again in which features is the caller's business.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from minimagen.evaluation.metrics import psnr
from minimagen.shapes import Images, PerSample

Look = Literal["blank", "noise", "shapes", "captions"]
MIN_CONTRAST = 0.2
"""Drawn pictures with less of the real ones' standard deviation than this are blank."""
MIN_RIGHT = 0.5
"""Share of captions found again from which pictures count as matching them."""
CHANCE_LEVEL = 0.01
"""... if so many would be right by chance less often than this."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a grid looks like, in a word and in the numbers behind it."""

    look: Look
    roughness: float
    """Of the drawn pictures; ``roughness``."""
    num_right: int
    """Pictures that are nearest to the real picture of their own caption."""
    num_total: int

    def __str__(self) -> str:
        found = f"{self.num_right} of {self.num_total} nearest to the real picture of their own caption"
        return {
            "blank": "blank: hardly any contrast yet",
            "noise": "noise",
            "shapes": f"shapes, not yet what the captions say ({found})",
            "captions": f"pictures that match their captions ({found})",
        }[self.look]


def roughness(pictures: Images) -> PerSample:
    """Returns the mean squared difference of neighbouring pixels over twice the variance: 1 is white noise, 0 is flat.

    For pixels that do not depend on each other E (a - b)^2 = 2 var.
    """
    values = pictures.double()
    down = (values[..., 1:, :] - values[..., :-1, :]).square().mean(dim=(1, 2, 3))
    right = (values[..., :, 1:] - values[..., :, :-1]).square().mean(dim=(1, 2, 3))
    variance = values.var(dim=(2, 3), correction=0).mean(dim=1)
    return torch.where(variance > 0, (down + right) / (4.0 * variance.clamp(min=1e-12)), 0.0)


def judge(drawn: Images, real: Images, is_right: Sequence[bool]) -> Verdict:
    """Says what drawn pictures look like beside the real ones of the same captions.

    Noise is what is rougher than the geometric mean of real pictures and white noise.

    Args:
        is_right: which drawn pictures are nearest to the real picture of their own caption, among all of ``real``.
    """
    rough, usual = (float(roughness(pictures).median()) for pictures in (drawn, real))
    num_right, num_total = sum(is_right), len(is_right)
    contrast, real_contrast = (float(pictures.std(dim=(2, 3)).mean()) for pictures in (drawn, real))
    look: Look = "shapes"
    if contrast < MIN_CONTRAST * real_contrast:
        look = "blank"
    elif rough > usual**0.5:
        look = "noise"
    elif num_right >= MIN_RIGHT * num_total and _is_no_chance(num_right, num_total):
        look = "captions"
    return Verdict(look, rough, num_right, num_total)


def _is_no_chance(num_right: int, num_total: int) -> bool:
    """Says whether so many of so many are right too often for picking one of ``num_total`` at random (binomial)."""
    p = 1.0 / num_total
    ways = (math.comb(num_total, k) * p**k * (1 - p) ** (num_total - k) for k in range(num_right, num_total + 1))
    return sum(ways) < CHANCE_LEVEL


def gain_over(drawn: Images, enlarged: Images, real: Images) -> float:
    """Returns by how many dB drawn pictures are nearer to the real ones than merely enlarged ones, on average."""
    return float((psnr(drawn, real) - psnr(enlarged, real)).mean())
