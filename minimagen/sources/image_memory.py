"""What it costs to decode a picture: the memory that Pillow and its libraries take, told from the header alone.

Measured with Pillow 13 at 16 megapixels. Knows no rule: how much is too much is the caller's business.
"""

from PIL import Image

_PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2}
"""Memory for a pixel of a Pillow picture; in modes that are not named it is 4."""
_WEBP_PIXEL_BYTES = 16  # two canvases of libwebp, their content as bytes, and the picture
_COEFFICIENT_BYTES = 2
_BARE_MARKERS = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})  # JPEG markers that no length follows
_START_OF_SCAN = 0xDA
_FEW_BYTES = 2**19
"""For which nobody looks into a file to find out whether it is less."""


def decode_bytes(image: Image.Image, raw: bytes, size: tuple[int, int]) -> int:
    """Returns the bytes of memory that ``image.load()`` takes, at most, beside ``raw``.

    Args:
        image: opened, not decoded yet; drafted if it will be decoded as a draft.
        raw: its file.
        size: what the header says, which a draft changes.
    """
    num_pixels = size[0] * size[1]
    if image.format == "WEBP":
        return num_pixels * _WEBP_PIXEL_BYTES
    picture = image.width * image.height * _PIXEL_BYTES.get(image.mode, 4)
    if image.format not in ("JPEG", "MPO"):
        return picture
    # libjpeg keeps the coefficients of all channels until it has read the last scan.
    with_scans = picture + num_pixels * len(image.getbands()) * _COEFFICIENT_BYTES
    return with_scans if with_scans <= _FEW_BYTES or _has_scans(raw, image) else picture


def _has_scans(jpeg: bytes, image: Image.Image) -> bool:
    """Returns whether a JPEG comes in several scans, as libjpeg decides it: at the first one."""
    if "progressive" in image.info:
        return True
    position = jpeg.find(b"\xff", 2)
    while position >= 0 and position + 4 < len(jpeg):
        marker = jpeg[position + 1]
        if marker == _START_OF_SCAN:
            return jpeg[position + 4] < len(image.getbands())
        length = 0 if marker in _BARE_MARKERS else int.from_bytes(jpeg[position + 2 : position + 4], "big")
        position = jpeg.find(b"\xff", position + (1 if marker == 0xFF else 2 + length))
    return True
