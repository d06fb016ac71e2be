"""Pictures of unknown origin made into plain RGB, or rejected with a reason.

Knows no network, no file and no caption. Nothing is repaired in silence: a file that Pillow cannot decode whole, or
that breaks a rule, is a ``Rejection``. Colour profiles are dropped, not applied.
"""

import io
import struct
import warnings
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, ImageStat, UnidentifiedImageError

from minimagen.config import ImageRules
from minimagen.files import sha256_bytes
from minimagen.rows import Rejection

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
_ANIMATED_FORMATS = ("PNG", "WEBP", "GIF")  # a JPEG with several pictures (MPO) is a photograph
_DECODE_ERRORS = (  # what Pillow raises on damaged files, found by flipping bits and cutting files short
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    NotImplementedError,
    EOFError,
    IndexError,
    KeyError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_DCT_SCALE = 2**14


@dataclass(frozen=True, slots=True)
class NormalisedImage:
    """A picture as it is stored."""

    content: bytes
    """PNG or JPEG of an RGB picture, without any metadata."""
    format: str
    width: int
    height: int
    orig_width: int
    """Width of the original as it is shown, that is after its EXIF rotation."""
    orig_height: int
    sha256: str
    """SHA-256 of the original bytes."""
    phash: int


def normalise_image(raw: bytes, rules: ImageRules) -> NormalisedImage | Rejection:
    """Decodes, checks, flattens, shrinks and re-encodes one picture.

    The header decides first (format, pixels, sides, frames), so a decompression bomb is never decoded.

    Returns:
        The picture, or a rejection: not_an_image, too_many_pixels, too_small, extreme_aspect, animated, undecodable
        or flat.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata, which is dropped, and of what is checked below
        opened = _open(raw, rules)
        if isinstance(opened, Rejection):
            return opened
        try:
            picture, orig_size = _decode(opened, rules)
        except _DECODE_ERRORS as error:
            return Rejection("undecodable", f"{opened.format}: {type(error).__name__}: {error}")
    deviation = max(ImageStat.Stat(picture).stddev)
    if deviation < rules.min_std:
        return Rejection("flat", f"standard deviation {deviation:.2f} of 255, at least {rules.min_std:g} expected")
    return NormalisedImage(
        content=encode_image(picture, rules.encoding),
        format=rules.encoding,
        width=picture.width,
        height=picture.height,
        orig_width=orig_size[0],
        orig_height=orig_size[1],
        sha256=sha256_bytes(raw),
        phash=perceptual_hash(picture),
    )


def encode_image(picture: Image.Image, encoding: str) -> bytes:
    """Encodes an RGB picture without metadata: "png" losslessly, "jpeg" at quality 95 without chroma subsampling."""
    bare = Image.fromarray(np.asarray(picture))  # Pillow would carry the profile and comments of ``picture.info`` over
    stream = io.BytesIO()
    if encoding == "png":
        bare.save(stream, "PNG")
    else:
        bare.save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()


def perceptual_hash(picture: Image.Image) -> int:
    """Returns a 64-bit hash of the coarse brightness pattern, as a signed integer: like pictures differ in few bits.

    The 8 x 8 lowest frequencies of the DCT-II of the 32 x 32 grey picture, each compared with their median. Colour is
    not seen. Integer arithmetic throughout, so that every machine gives the same bits.
    """
    grey = np.asarray(picture.convert("L").resize((32, 32), Image.Resampling.LANCZOS), dtype=np.int64)
    frequencies = _DCT @ grey @ _DCT.T
    bits = np.packbits(frequencies > np.median(frequencies))
    return int.from_bytes(bits.tobytes(), "big", signed=True)


def _dct_matrix() -> np.ndarray:
    frequency, position = np.mgrid[0:8, 0:32]
    return np.rint(_DCT_SCALE * np.cos(np.pi * frequency * (2 * position + 1) / 64)).astype(np.int64)


_DCT = _dct_matrix()


def _open(raw: bytes, rules: ImageRules) -> Image.Image | Rejection:
    try:
        image = Image.open(io.BytesIO(raw), formats=FORMATS)
        width, height = image.size
        if width * height > rules.max_pixels:
            return Rejection("too_many_pixels", f"{width}x{height}, at most {rules.max_pixels} pixels")
        if min(width, height) < rules.min_side:
            return Rejection("too_small", f"{width}x{height}, shortest side at least {rules.min_side} px")
        if max(width, height) > rules.max_aspect * min(width, height):
            return Rejection("extreme_aspect", f"{width}x{height}, sides at most {rules.max_aspect:g} to 1")
        if rules.animated == "reject" and image.format in _ANIMATED_FORMATS and _has_frames(image):
            return Rejection("animated", f"{image.format} of several frames")
    except Image.DecompressionBombError as error:
        return Rejection("too_many_pixels", str(error))
    except UnidentifiedImageError:
        return Rejection("not_an_image", f"not {', '.join(FORMATS)}: {_first_bytes(raw)}")
    except _DECODE_ERRORS as error:
        return Rejection("undecodable", f"{type(error).__name__}: {error}")
    return image


def _decode(image: Image.Image, rules: ImageRules) -> tuple[Image.Image, tuple[int, int]]:
    width, height = image.size
    image.draft("RGB", (2 * rules.store_size, 2 * rules.store_size))  # lets libjpeg shrink a big JPEG while decoding
    image.load()
    was_turned = image.getexif().get(0x0112, 1) >= 5  # orientations 5 to 8 swap the sides
    ImageOps.exif_transpose(image, in_place=True)
    return _shrink(_flatten(image, rules.background), rules.store_size), (height, width) if was_turned else (
        width,
        height,
    )


def _flatten(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Composites transparency before colours become RGB: a hidden colour would show otherwise."""
    if image.mode.startswith("I"):
        image = _eight_bit(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, (*background, 255)), layer).convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scales 16-bit grey by its full range; a transparent grey becomes an alpha channel."""
    grey = np.asarray(image).astype(np.int64)
    shades = Image.fromarray(((grey + 128) // 257).astype(np.uint8))
    if "transparency" not in image.info:
        return shades
    alpha = Image.fromarray(np.where(grey == image.info["transparency"], 0, 255).astype(np.uint8))
    return Image.merge("LA", (shades, alpha))


def _shrink(image: Image.Image, short_side: int) -> Image.Image:
    shortest = min(image.size)
    if shortest <= short_side:
        return image
    width, height = (max(short_side, round(side * short_side / shortest)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _has_frames(image: Image.Image) -> bool:
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def _first_bytes(raw: bytes) -> str:
    start = raw.lstrip()[:24]
    return f"looks like HTML or SVG {start!r}" if start.startswith(b"<") else f"starts with {start!r}"
