"""How near generated pictures are to training pictures: what is reproduced, what is copied.

Knows pixels and captions, no model and no file. Distance is root mean square over pixels and channels, so that it
does not grow with the picture; for pictures in [-1, 1] it lies in [0, 2].
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange

from minimagen.evaluation.metrics import Share, share_of
from minimagen.shapes import Images, PerSample


@dataclass(frozen=True, slots=True)
class Nearest:
    """The nearest training picture of each picture."""

    indices: torch.Tensor
    """int64, positions in the order the training pictures came."""
    distances: PerSample
    """Root mean square difference, 0 to 2."""


def nearest_pictures(pictures: Images, training: Iterable[Images]) -> Nearest:
    """Finds the training picture with the smallest distance, the earliest of equals.

    d(a, b)^2 = (|a|^2 + |b|^2 - 2 a.b) / num_values, in float64: near-duplicates must not drown in rounding.

    Args:
        pictures: the pictures to look up.
        training: all training pictures in chunks of any size, so that they need not fit in memory.

    Raises:
        ValueError: there are no training pictures, or their shape differs.
    """
    flat = rearrange(pictures, "b c h w -> b (c h w)").double()
    best = torch.full((len(flat),), torch.inf, dtype=torch.float64)
    indices = torch.full((len(flat),), -1)
    offset = 0
    for chunk in training:
        if chunk.shape[1:] != pictures.shape[1:]:
            raise ValueError(f"training pictures are {tuple(chunk.shape[1:])}, expected {tuple(pictures.shape[1:])}")
        squared, found = _squared_distances(flat, rearrange(chunk, "b c h w -> b (c h w)").double()).min(dim=1)
        closer = squared < best
        best = torch.where(closer, squared, best)
        indices = torch.where(closer, found + offset, indices)
        offset += len(chunk)
    if offset == 0:
        raise ValueError("no training pictures to compare with")
    return Nearest(indices=indices, distances=(best.clamp(min=0.0) / flat.shape[1]).sqrt())


def _squared_distances(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    norms = left.square().sum(1)[:, None] + right.square().sum(1)[None, :]
    return norms - 2.0 * left @ right.T


def reproduced(captions: Sequence[str], nearest: Nearest, training_captions: Sequence[str]) -> list[bool]:
    """Says for each generated picture whether its nearest training picture has the caption it was drawn from.

    Several training pictures may share a caption; any of them counts.

    Args:
        captions: what each picture was drawn from.
        training_captions: in the order of the training pictures.
    """
    found = [training_captions[index] for index in nearest.indices.tolist()]
    return [caption == own for caption, own in zip(captions, found, strict=True)]


def reproduction_share(is_reproduced: Sequence[bool]) -> Share:
    """Returns the share of training captions whose generated picture is nearest to a picture of that caption."""
    return share_of(sum(is_reproduced), len(is_reproduced))
