"""Pixels between their stored and their trained form: square, resized, in [-1, 1], whole or a part of them.

Knows no file and no caption. Resampling is antialiased always; the value map is fixed, never per picture.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from PIL import Image

from minimagen.shapes import Images, PixelImage, PixelImages, ResizedImages

Crop = Literal["center", "top", "random", "pad", "squash"]
PAD_VALUE = 255
"""Colour of padding: white, as transparency is composited by default."""


@dataclass(frozen=True, slots=True)
class Windows:
    """A square part of each picture of a batch."""

    size: int
    """Side, px."""
    corners: tuple[tuple[int, int], ...]
    """Rows above and columns to the left of each."""

    def cut(self, images: Images) -> ResizedImages:
        """Returns the parts, in the order of the pictures."""
        parts = [
            image[:, top : top + self.size, left : left + self.size]
            for image, (top, left) in zip(images, self.corners, strict=True)
        ]
        return torch.stack(parts)


def crop_square(image: PixelImage, crop: Crop, offset: float = 0.5) -> PixelImage:
    """Makes a picture square.

    Args:
        crop: "center", "top" and "random" cut a square of the short side; "pad" adds white up to the long side;
            "squash" resizes both sides to the short one.
        offset: where a random square lies, 0 (left or top) to 1 (right or bottom); the others ignore it.
    """
    height, width, _ = image.shape
    side = min(height, width)
    if height == width:
        return image
    if crop == "squash":
        return _resize(image, side, side)
    if crop == "pad":
        return _pad(image)
    share = {"center": 0.5, "top": 0.0, "random": offset}[crop]
    # Cut sideways, the top of a picture is its middle.
    left = round((width - side) * (0.5 if crop == "top" else share))
    top = round((height - side) * share)
    return image[top : top + side, left : left + side]


def resize_pixels(image: PixelImage, size: int) -> PixelImage:
    """Resizes a picture so that its short side is ``size`` px, aspect kept, antialiased (Lanczos)."""
    height, width, _ = image.shape
    shortest = min(height, width)
    return _resize(image, max(size, round(height * size / shortest)), max(size, round(width * size / shortest)))


def to_float(pixels: PixelImages) -> Images:
    """Maps stored pixels to [-1, 1]: x / 127.5 - 1, channels first."""
    return torch.from_numpy(rearrange(pixels, "n h w c -> n c h w").astype(np.float32)) / 127.5 - 1.0


def to_pixels(images: Images) -> PixelImages:
    """Maps [-1, 1] back to uint8, rounding; values outside are clamped. Inverse of ``to_float`` on its range."""
    bytes_ = ((images.float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return rearrange(bytes_, "n c h w -> n h w c").cpu().contiguous().numpy()


def _resize(image: PixelImage, height: int, width: int) -> PixelImage:
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def _pad(image: PixelImage) -> PixelImage:
    height, width, _ = image.shape
    side = max(height, width)
    square = np.full((side, side, 3), PAD_VALUE, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = image
    return square
