"""Augmentation that does not leak: training pictures are zoomed, stretched and shifted, and the network is told how.

Drawn with the numbers all zero, a picture comes out unwarped (Karras et al. 2022, appendix F.2; 2020, section 2.2). Of
their transformations those are left out that could make a caption false: flips (left, right), rotations (above, below)
and colours. Knows no network and no loss but as functions.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from einops import rearrange, repeat
from torch import nn

from minimagen.datasets.captioned import Batch
from minimagen.models.unet import NUM_WARP_NUMBERS
from minimagen.shapes import Images, PerSample, Vectors
from minimagen.training.loop import Draws

ZOOM_STD, STRETCH_STD, SHIFT_STD = 0.2, 0.2, 0.125
"""Standard deviations: octaves, octaves, and parts of the side."""


@dataclass(frozen=True, slots=True)
class WarpedDraws:
    """The random numbers of a batch, with the warp of each picture."""

    warp: Vectors
    """Zoom, stretch, shift right and shift down in standard deviations; all 0 for a picture that stays as it is."""
    draws: Draws

    def part(self, positions: slice) -> "WarpedDraws":
        """Returns the numbers of some samples."""
        return WarpedDraws(self.warp[positions], self.draws.part(positions))


@dataclass(frozen=True, slots=True)
class Warped:
    """A loss under random warps: its two functions take the place of those it wraps."""

    probability: float
    inner_draw: Callable[[int, torch.Generator], Draws]
    inner_loss_of: Callable[..., PerSample]
    device: torch.device

    def draw(self, num_samples: int, generator: torch.Generator) -> WarpedDraws:
        """Draws what is wrapped first, so that its numbers are those of a training without warps."""
        draws = self.inner_draw(num_samples, generator)
        return WarpedDraws(draw_warps(num_samples, self.probability, generator), draws)

    def loss_of(self, network: nn.Module, batch: Batch, draws: WarpedDraws) -> PerSample:
        """Returns each sample's loss on its warped picture, the network being told the warp."""
        warp = draws.warp.to(self.device)
        warped = replace(batch, images=warp_pictures(batch.images.to(self.device), warp))
        return self.inner_loss_of(partial(network, warp=warp), warped, draws.draws)


def draw_warps(num_samples: int, probability: float, generator: torch.Generator) -> Vectors:
    """Draws each number of each sample: standard normal with the probability, else 0, independently of the others."""
    shape = (num_samples, NUM_WARP_NUMBERS)
    numbers = torch.randn(shape, generator=generator)
    return numbers * (torch.rand(shape, generator=generator) < probability)


def warp_pictures(images: Images, warp: Vectors) -> Images:
    """Zooms by 2^(0.2 w0), stretches width against height by 2^(0.2 w1), shifts right and down by 0.125 (w2, w3) sides.

    Beyond the edge stands the mirror image; values stay in [-1, 1]. A picture whose numbers are 0 is not touched.
    """
    zoom, stretch, right, down = rearrange(warp, "b numbers -> numbers b 1")
    across = 2.0 ** (ZOOM_STD * zoom + STRETCH_STD * stretch / 2)
    along = 2.0 ** (ZOOM_STD * zoom - STRETCH_STD * stretch / 2)
    # Where each column and row of the new picture lies in the old one, whose sides reach from -1 to 1.
    columns = (_centres(images.shape[3], images.device) - 2.0 * SHIFT_STD * right) / across  # (b, width)
    rows = (_centres(images.shape[2], images.device) - 2.0 * SHIFT_STD * down) / along  # (b, height)
    height, width = rows.shape[1], columns.shape[1]
    places = torch.stack(
        (
            repeat(columns, "b width -> b height width", height=height),
            repeat(rows, "b height -> b height width", width=width),
        ),
        dim=-1,
    )
    moved = nn.functional.grid_sample(images, places, mode="bicubic", padding_mode="reflection", align_corners=False)
    is_warped = rearrange(warp != 0.0, "b numbers -> b 1 1 numbers").any(dim=-1, keepdim=True)
    return torch.where(is_warped, moved.clamp(-1.0, 1.0), images)


def _centres(num_pixels: int, device: torch.device) -> Vectors:
    """Returns the places of pixels between -1 and 1, (1, pixels)."""
    return ((2 * torch.arange(num_pixels, device=device) + 1) / num_pixels - 1.0)[None]
