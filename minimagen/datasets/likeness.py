"""Which pictures are nearly the same: close perceptual hashes and close mean colours.

Knows no caption, no group and no split. The hash is blind to colour (a red and a blue disc have the same one), hence
the second look at the pixels, which only pictures with a close hash need.
"""

import io
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image

from minimagen.files import sha256_bytes

HASH_BITS = 64
_LOOK_SIDE = 32
_RGB_TO_XYZ = np.array(  # IEC 61966-2-1, divided by the D65 white point
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
) / np.array([[0.95047], [1.0], [1.08883]])


Lab = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Look:
    """What a second look at a picture tells."""

    pixels_sha256: str
    """Of size and decoded pixels: equal pictures have equal ones, however they are encoded."""
    lab: Lab
    """Mean colour in CIELAB, rounded to 0.01."""


def look_at(content: bytes) -> Look:
    """Decodes a stored picture and looks at it."""
    with Image.open(io.BytesIO(content)) as opened:
        picture = opened.convert("RGB")
    small = np.asarray(picture.resize((_LOOK_SIDE, _LOOK_SIDE), Image.Resampling.BOX))
    lightness, green_red, blue_yellow = np.round(lab_of(small).mean(axis=(0, 1)), 2).tolist()
    pixels = f"{picture.width}x{picture.height}".encode() + picture.tobytes()
    return Look(sha256_bytes(pixels), (lightness, green_red, blue_yellow))


def lab_of(pixels: np.ndarray) -> np.ndarray:
    """Converts sRGB bytes, channels last, to CIELAB under D65 (CIE 15:2004): L in 0..100."""
    encoded = pixels / 255.0
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    ratio = linear @ _RGB_TO_XYZ.T
    cut = (6 / 29) ** 3
    x, y, z = np.moveaxis(np.where(ratio > cut, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def lab_distance(left: Look, right: Look) -> float:
    """Returns the Euclidean distance of two mean colours (CIE 1976 Delta E)."""
    return math.dist(left.lab, right.lab)


class HashIndex:
    """Perceptual hashes that are found again by any hash at most ``max_hamming`` bits away.

    Two such hashes agree in at least one of ``max_hamming`` + 1 bands of bits, so only hashes that share a band are
    compared, and none is missed.
    """

    def __init__(self, max_hamming: int) -> None:
        self.max_hamming = max_hamming
        edges = [HASH_BITS * band // (max_hamming + 1) for band in range(max_hamming + 2)]
        self._bands = [(start, (1 << (end - start)) - 1) for start, end in pairwise(edges)]
        self._hashes: list[defaultdict[int, list[int]]] = [defaultdict(list) for _ in self._bands]
        self._positions: dict[int, list[int]] = {}

    def add(self, phash: int, position: int) -> None:
        """Stores a signed 64-bit hash under a position."""
        bits = phash % 2**HASH_BITS
        if bits not in self._positions:
            self._positions[bits] = []
            for hashes, (start, mask) in zip(self._hashes, self._bands, strict=True):
                hashes[bits >> start & mask].append(bits)
        self._positions[bits].append(position)

    def near(self, phash: int) -> list[int]:
        """Returns the positions of all close hashes, in ascending order."""
        bits = phash % 2**HASH_BITS
        found = {
            other
            for hashes, (start, mask) in zip(self._hashes, self._bands, strict=True)
            for other in hashes.get(bits >> start & mask, ())
            if (bits ^ other).bit_count() <= self.max_hamming
        }
        return sorted(position for other in found for position in self._positions[other])


def close_hashes(phashes: Sequence[int], max_hamming: int) -> set[int]:
    """Returns the positions of all hashes that have another one close to them."""
    positions: defaultdict[int, list[int]] = defaultdict(list)
    for position, phash in enumerate(phashes):
        positions[phash].append(position)
    index, distinct = HashIndex(max_hamming), list(positions)
    close = {phash for phash in distinct if len(positions[phash]) > 1}
    for number, phash in enumerate(distinct):
        earlier = index.near(phash)
        if earlier:
            close |= {phash, *(distinct[other] for other in earlier)}
        index.add(phash, number)
    return {position for phash in close for position in positions[phash]}
