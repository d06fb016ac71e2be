"""Pictures of unknown origin made into plain RGB, or rejected with a reason.

Knows no network, no file and no caption. Nothing is repaired in silence: a file that Pillow cannot decode whole, or
that breaks a rule, is a ``Rejection``. Colour profiles are dropped, not applied.
"""

import io
import math
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from minimagen.config import ImageRules
from minimagen.files import sha256_bytes
from minimagen.rows import Rejection
from minimagen.sources.flattening import flatten_and_shrink
from minimagen.sources.image_memory import decode_bytes
from minimagen.sources.perceptual_hash import perceptual_hashes
from minimagen.sources.silent_pillow import silent_pillow

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
_POWERS = np.stack([np.arange(256.0), np.arange(256.0) ** 2], axis=1)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What shows a picture of each EXIF orientation upright."""
_SIDEWAYS = (5, 6, 7, 8)
_SAY_ORIENTATION = frozenset({"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"})
"""Where Pillow looks for it."""


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


@dataclass(frozen=True, slots=True)
class OpenedImage:
    """A picture whose header keeps the rules; nothing of it is decoded yet."""

    raw: bytes
    picture: Image.Image
    width: int
    """As the header says; ``picture`` is smaller if it will be decoded as a draft."""
    height: int
    decode_bytes: int
    """Memory that decoding takes."""


@dataclass(frozen=True, slots=True)
class _DecodedImage:
    """A picture that will be stored."""

    picture: Image.Image
    orig_width: int
    orig_height: int


def normalise_image(
    raw: bytes, rules: ImageRules, *, max_decode_bytes: int | None = None
) -> NormalisedImage | Rejection:
    """Decodes, checks, flattens, shrinks and re-encodes one picture.

    The header decides first (format, pixels, sides, frames), so a decompression bomb is never decoded. Not for use in
    several threads at a time: Pillow's warnings are silenced meanwhile, for the whole process.

    Args:
        max_decode_bytes: memory that decoding may take, at most, as far as the header tells; None sets no limit
            beside ``rules.max_pixels``.

    Returns:
        The picture, or a rejection: not_an_image, too_many_pixels, too_small, extreme_aspect, animated, undecodable
        or flat.
    """
    with silent_pillow():
        opened = open_image(raw, rules, max_decode_bytes=max_decode_bytes)
        return opened if isinstance(opened, Rejection) else finish_image(opened, rules)


def open_image(raw: bytes, rules: ImageRules, *, max_decode_bytes: int | None = None) -> OpenedImage | Rejection:
    """Reads and checks the header: the first half of ``normalise_image``."""
    try:
        picture = Image.open(io.BytesIO(raw), formats=FORMATS)
        width, height = picture.size
        if width * height > rules.max_pixels:
            return Rejection("too_many_pixels", f"{width}x{height}, at most {rules.max_pixels} pixels")
        if min(width, height) < rules.min_side:
            return Rejection("too_small", f"{width}x{height}, shortest side at least {rules.min_side} px")
        if max(width, height) > rules.max_aspect * min(width, height):
            return Rejection("extreme_aspect", f"{width}x{height}, sides at most {rules.max_aspect:g} to 1")
        picture.draft("RGB", (2 * rules.store_size, 2 * rules.store_size))  # libjpeg shrinks a big JPEG while decoding
        needed = decode_bytes(picture, raw, (width, height))
        if max_decode_bytes is not None and needed > max_decode_bytes:
            what = f"{width}x{height} {picture.format} takes {needed / 2**20:.0f} MB to decode"
            return Rejection("too_many_pixels", f"{what}, at most {max_decode_bytes / 2**20:.0f} MB")
        if rules.animated == "reject" and picture.format in _ANIMATED_FORMATS and _has_frames(picture):
            return Rejection("animated", f"{picture.format} of several frames")
    except Image.DecompressionBombError as error:
        return Rejection("too_many_pixels", str(error))
    except UnidentifiedImageError:
        return Rejection("not_an_image", f"not {', '.join(FORMATS)}: {_first_bytes(raw)}")
    except _DECODE_ERRORS as error:
        return Rejection("undecodable", f"{type(error).__name__}: {error}")
    return OpenedImage(raw, picture, width, height, needed)


def finish_image(opened: OpenedImage, rules: ImageRules) -> NormalisedImage | Rejection:
    """Decodes and makes what is stored: the second half of ``normalise_image``."""
    return finish_images([opened], rules)[0]


def finish_images(
    batch: Sequence[OpenedImage], rules: ImageRules, *, begin: Callable[[int], None] = lambda place: None
) -> list[NormalisedImage | Rejection]:
    """Makes of each picture what ``finish_image`` makes of it, all of them step by step.

    What a step needs, its code above all, then is in the processor's caches: sixteen small pictures together take a
    quarter less time.

    Args:
        begin: told the place of each picture in ``batch`` before anything is done with it.
    """
    outcomes: dict[int, NormalisedImage | Rejection] = {}
    decoded: dict[int, _DecodedImage] = {}
    for place, opened in enumerate(batch):
        begin(place)
        outcome = _decode(opened, rules)
        if isinstance(outcome, Rejection):
            outcomes[place] = outcome
        else:
            decoded[place] = outcome
    hashes = perceptual_hashes([image.picture for image in decoded.values()])
    for (place, image), phash in zip(decoded.items(), hashes, strict=True):
        begin(place)
        outcomes[place] = NormalisedImage(
            content=encode_image(image.picture, rules.encoding),
            format=rules.encoding,
            width=image.picture.width,
            height=image.picture.height,
            orig_width=image.orig_width,
            orig_height=image.orig_height,
            sha256=sha256_bytes(batch[place].raw),
            phash=phash,
        )
    return [outcomes[place] for place in range(len(batch))]


def encode_image(picture: Image.Image, encoding: str) -> bytes:
    """Encodes an RGB picture without metadata: "png" losslessly, "jpeg" at quality 95 without chroma subsampling."""
    bare = picture.copy()
    bare.info = {}  # Pillow would carry profile and comments over
    stream = io.BytesIO()
    if encoding == "png":
        bare.save(stream, "PNG")
    else:
        bare.save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()


def _decode(opened: OpenedImage, rules: ImageRules) -> _DecodedImage | Rejection:
    orig_size = opened.width, opened.height
    try:
        opened.picture.load()
        orientation = _orientation(opened.picture)
        picture = flatten_and_shrink(opened.picture, rules)
    except _DECODE_ERRORS as error:
        return Rejection("undecodable", f"{opened.picture.format}: {type(error).__name__}: {error}")
    if orientation in _TURNS:
        picture = picture.transpose(_TURNS[orientation])
    deviation = _deviation(picture, rules.min_std)
    if deviation < rules.min_std:
        return Rejection("flat", f"standard deviation {deviation:.2f} of 255, at least {rules.min_std:g} expected")
    return _DecodedImage(picture, orig_size[orientation in _SIDEWAYS], orig_size[orientation not in _SIDEWAYS])


def _orientation(image: Image.Image) -> int:
    return 1 if _SAY_ORIENTATION.isdisjoint(image.info) else image.getexif().get(0x0112, 1)


def _deviation(picture: Image.Image, enough: float) -> float:
    """Returns the standard deviation, 0 to 127.5, of a channel that has enough of it, or else of the one with most."""
    num_pixels, largest = picture.width * picture.height, 0.0
    for channel in (1, 0, 2):
        counts = np.array(picture.getchannel(channel).histogram(), np.float64)
        mean, mean_square = ((counts @ _POWERS) / num_pixels).tolist()
        largest = max(largest, math.sqrt(max(0.0, mean_square - mean**2)))
        if largest >= enough:
            break
    return largest


def _has_frames(image: Image.Image) -> bool:
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def _first_bytes(raw: bytes) -> str:
    start = raw.lstrip()[:24]
    return f"looks like HTML or SVG {start!r}" if start.startswith(b"<") else f"starts with {start!r}"
