"""How near pictures are to training pictures: what is reproduced, what is copied.

Knows pixels and captions, no model and no file. Distance is root mean square over pixels and channels, so that it
does not grow with the picture; for pictures in [-1, 1] it lies in [0, 2].
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange

from minimagen.evaluation.metrics import Share, share_of
from minimagen.shapes import Images, PerSample

CROWD_SIZE = 50
"""How many of the nearest training pictures say how far apart pictures of this data are."""
COPY_RATIO = 1.0 / 3.0
"""A picture is a copy if its nearest training picture is this many times as far as the crowd, or nearer."""


SAME_DISTANCE = 0.02
"""Two pictures nearer than this (2.5 of 255 levels) look the same."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """The nearest training picture of each picture."""

    indices: torch.Tensor
    """int64, positions in the order the training pictures came."""
    distances: PerSample
    """Root mean square difference, 0 to 2."""
    crowd: PerSample
    """Mean distance of the nearest ``CROWD_SIZE`` training pictures, or of all if there are fewer."""

    @property
    def ratios(self) -> PerSample:
        """The distance in units of the crowd's, 0 (a copy) to 1 (Carlini et al. 2023, section 4.2, equation 1).

        Comparable between data sets, unlike the distance. 1 where the whole crowd is at distance zero.
        """
        return torch.where(self.crowd > 0, self.distances / self.crowd, 1.0)

    @property
    def are_copies(self) -> torch.Tensor:
        """Which pictures are copies of training pictures, as bool."""
        return self.ratios <= COPY_RATIO


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
    squared, indices = torch.empty(len(flat), 0).double(), torch.empty(len(flat), 0, dtype=torch.long)
    offset = 0
    for chunk in training:
        if chunk.shape[1:] != pictures.shape[1:]:
            raise ValueError(f"training pictures are {tuple(chunk.shape[1:])}, expected {tuple(pictures.shape[1:])}")
        found = _squared_distances(flat, rearrange(chunk, "b c h w -> b (c h w)").double())
        squared = torch.cat([squared, found], dim=1)
        indices = torch.cat([indices, torch.arange(offset, offset + len(chunk)).expand(len(flat), -1)], dim=1)
        squared, order = squared.sort(dim=1, stable=True)
        squared, indices = squared[:, :CROWD_SIZE], indices.gather(1, order)[:, :CROWD_SIZE]
        offset += len(chunk)
    if offset == 0:
        raise ValueError("no training pictures to compare with")
    distances = (squared.clamp(min=0.0) / flat.shape[1]).sqrt()
    return Nearest(indices=indices[:, 0], distances=distances[:, 0], crowd=distances.mean(1))


def _squared_distances(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    norms = left.square().sum(1)[:, None] + right.square().sum(1)[None, :]
    return norms - 2.0 * left @ right.T


def count_repeated(pictures: Images, captions: Sequence[str]) -> int:
    """Returns how many pictures look the same as one of another caption: within ``SAME_DISTANCE`` of it."""
    flat = rearrange(pictures, "b c h w -> b (c h w)").double()
    distances = (_squared_distances(flat, flat).clamp(min=0.0) / flat.shape[1]).sqrt()
    numbers = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
    own = torch.tensor([numbers[caption] for caption in captions])
    return int(((distances < SAME_DISTANCE) & (own[:, None] != own[None, :])).any(dim=1).sum())


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
