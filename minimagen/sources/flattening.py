"""A decoded picture of any mode made into RGB and shrunk to the size that is stored, a strip at a time.

Knows no file, no format and no rule but background and size.
"""

import numpy as np
from PIL import Image

from minimagen.config import ImageRules

_STRIP_PIXELS = 2**18


def flatten_and_shrink(image: Image.Image, rules: ImageRules) -> Image.Image:
    """Flattens and narrows strip by strip, then shrinks in height: no copy of the whole picture is ever made.

    Pillow narrows before it shrinks in height too, so the result is that of one step, to the bit.
    """
    width, height = _stored_size(image.size, rules.store_size)
    if (width, height) == image.size and width * height <= _STRIP_PIXELS:
        return _flatten(image, rules.background)
    narrow = Image.new("RGB", (width, image.height))
    strip_rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, strip_rows):
        rows = min(strip_rows, image.height - top)
        strip = _flatten(image.crop((0, top, image.width, top + rows)), rules.background)
        narrow.paste(strip.resize((width, rows), Image.Resampling.LANCZOS), (0, top))
    return narrow.resize((width, height), Image.Resampling.LANCZOS)


def _stored_size(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    shortest = min(size)
    if shortest <= short_side:
        return size
    width, height = (max(short_side, round(side * short_side / shortest)) for side in size)
    return width, height


def _flatten(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Composites transparency before colours become RGB: a hidden colour would show otherwise. May return ``image``."""
    if image.mode.startswith("I"):
        image = _eight_bit(image)
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, (*background, 255)), layer).convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scales 16-bit grey by its full range; a transparent grey becomes an alpha channel."""
    grey = np.asarray(image).astype(np.int32)
    shades = Image.fromarray(((grey + 128) // 257).astype(np.uint8))
    if "transparency" not in image.info:
        return shades
    alpha = Image.fromarray(np.where(grey == image.info["transparency"], 0, 255).astype(np.uint8))
    return Image.merge("LA", (shades, alpha))
