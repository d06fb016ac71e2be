"""The training pictures that a drawn one is most like: whoever looks at it sees whether it is a copy.

Knows no file: training pictures come opened. Distance is root mean square over pixels and channels, 0 to 2.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from einops import rearrange

from minimagen.datasets.transforms import to_float, to_pixels
from minimagen.diffusion.cascade import resize
from minimagen.shapes import Images, PixelImage, PixelImages

COARSE_PX = 16
"""All training pictures are compared at this size, and the closest ones then at their own."""
NUM_CLOSE = 32
_CHUNK = 256


class Pictures(Protocol):
    """Square pictures by position."""

    def picture(self, position: int) -> PixelImage:
        """Returns one of them."""
        ...

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A training picture beside a drawn one."""

    caption: str
    distance: float
    """Root mean square difference, 0 (the same) to 2."""
    pixels: PixelImage


class TrainingPictures:
    """Training pictures in a form in which the nearest ones are found without looking at all of them in full."""

    def __init__(self, pictures: Pictures, captions: Sequence[str]) -> None:
        """Looks at every picture once."""
        self._pictures = pictures
        self._captions = captions
        self._coarse = np.concatenate([to_pixels(resize(chunk, COARSE_PX)) for chunk in self._chunks()])

    def __len__(self) -> int:
        return len(self._captions)

    def nearest(self, drawn: PixelImages, number: int) -> list[list[Neighbour]]:
        """Returns the nearest training pictures of each drawn one, nearest first, the earliest of equals.

        Args:
            drawn: square pictures of any size.
            number: how many for each, at most ``NUM_CLOSE``.
        """
        images = to_float(drawn)
        distances = _distances(resize(images, COARSE_PX), to_float(self._coarse))
        close = distances.topk(min(NUM_CLOSE, len(self)), dim=1, largest=False).indices
        return [
            self._refined(image[None], sorted(row.tolist()), number) for image, row in zip(images, close, strict=True)
        ]

    def _refined(self, image: Images, positions: Sequence[int], number: int) -> list[Neighbour]:
        pixels = np.stack([self._pictures.picture(position) for position in positions])
        distances = _distances(resize(image, pixels.shape[1]), to_float(pixels))[0]
        order: list[int] = distances.argsort(stable=True)[:number].tolist()
        return [Neighbour(self._captions[positions[one]], float(distances[one]), pixels[one]) for one in order]

    def _chunks(self) -> Iterator[Images]:
        for start in range(0, len(self._pictures), _CHUNK):
            positions = range(start, min(start + _CHUNK, len(self._pictures)))
            yield to_float(np.stack([self._pictures.picture(position) for position in positions]))


def _distances(left: Images, right: Images) -> torch.Tensor:
    flat, others = (rearrange(images, "n c h w -> n (c h w)").double() for images in (left, right))
    return torch.cdist(flat, others, compute_mode="donot_use_mm_for_euclid_dist") / flat.shape[1] ** 0.5
