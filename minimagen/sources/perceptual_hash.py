"""A hash of what a picture looks like: like pictures differ in few bits. Knows no file and no rule."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE = 32
_DCT_SCALE = 2**14


def perceptual_hash(picture: Image.Image) -> int:
    """Returns a 64-bit hash of the coarse brightness pattern, as a signed integer: like pictures differ in few bits.

    The 8 x 8 lowest frequencies of the DCT-II of the 32 x 32 grey picture, each compared with their median. Colour is
    not seen. All numbers are integers below 2**53, so that every machine gives the same bits.
    """
    return perceptual_hashes([picture])[0]


def perceptual_hashes(pictures: Sequence[Image.Image]) -> list[int]:
    """Returns the hash of each picture: what each alone has, in a fraction of the time if they are of one size."""
    grey = np.empty((len(pictures), _SIDE, _SIDE))
    places: dict[tuple[int, int], list[int]] = {}
    for place, picture in enumerate(pictures):
        if picture.width < picture.height:
            grey[place] = np.asarray(_shrink(picture.convert("L"), _SIDE, _SIDE))
        else:
            places.setdefault(picture.size, []).append(place)
    for alike in places.values():
        grey[alike] = _shrink_together([pictures[place].convert("L") for place in alike])
    frequencies = (_DCT @ grey @ _DCT.T).reshape(len(pictures), 64)
    middle = np.sort(frequencies, axis=1)[:, 31:33].sum(axis=1, keepdims=True)
    bits = np.packbits(2 * frequencies > middle, axis=1)  # above the median
    return bits.view(">i8").ravel().tolist()


def _shrink(grey: Image.Image, width: int, height: int) -> Image.Image:
    return grey.resize((width, height), Image.Resampling.LANCZOS)


def _shrink_together(pictures: Sequence[Image.Image]) -> NDArray[np.uint8]:
    """Shrinks grey pictures of one size, none of them upright, each as Pillow shrinks it alone.

    What takes Pillow longest is to find the weights; pictures on top of each other have the same ones across, and those
    side by side the same ones down. It narrows a picture before it lowers it, but for some of the upright ones.
    """
    number, (width, height) = len(pictures), pictures[0].size
    tower = Image.frombytes("L", (width, number * height), b"".join(picture.tobytes() for picture in pictures))
    narrow = np.asarray(_shrink(tower, _SIDE, number * height))
    row = narrow.reshape(number, height, _SIDE).swapaxes(0, 1).reshape(height, number * _SIDE)
    low = np.asarray(_shrink(Image.fromarray(row), number * _SIDE, _SIDE))
    return low.reshape(_SIDE, number, _SIDE).swapaxes(0, 1)


def _dct_matrix() -> NDArray[np.float64]:
    frequency, position = np.mgrid[0:8, 0:_SIDE]
    return np.rint(_DCT_SCALE * np.cos(np.pi * frequency * (2 * position + 1) / 64))


_DCT = _dct_matrix()
