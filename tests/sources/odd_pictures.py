"""60 files that are odd in a way that has a name: rare modes, rotations, animations, bombs, and what is no picture.

Each says what becomes of it: the pixels it is stored with, known before it was encoded or decoded by Pillow alone in
the plainest way, or the reason why it is not.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from tests.sources.picture_parts import Part, join_jpeg, join_png, split_jpeg, split_png

WIDTH, HEIGHT = 48, 40
WHITE = 255


@dataclass(frozen=True, slots=True)
class Odd:
    """One odd file, and what becomes of it."""

    name: str
    raw: bytes
    expected: np.ndarray | str
    """The pixels that are stored, (height, width, 3), or the reason."""


def odd_pictures() -> Iterator[Odd]:
    """Yields all 60, in a fixed order."""
    for family in (
        _jpegs,
        _deep_and_shallow,
        _transparent,
        _rotations,
        _profiles,
        _frames,
        _sizes,
        _bombs,
        _mixed,
    ):
        yield from family()


def rgb() -> np.ndarray:
    """Returns the picture that most cases show."""
    coarse = np.random.default_rng(5).integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))


def encoded(picture: Image.Image | np.ndarray, kind: str, **options: object) -> bytes:
    """Returns a picture's file as Pillow writes it."""
    stream = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(stream, kind, **options)
    return stream.getvalue()


def plainly_decoded(raw: bytes) -> np.ndarray:
    """Returns what Pillow makes of a file without transparency."""
    with Image.open(io.BytesIO(raw)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def png(samples: np.ndarray, depth: int, colour: int, *parts: Part) -> bytes:
    """Writes a PNG of samples (height, width, channels) as they are; pixels of less than 8 bits are packed."""
    height, width = samples.shape[:2]
    rows = samples.reshape(height, -1)
    if depth < 8:
        bits = np.unpackbits(rows.astype(np.uint8)[..., None], axis=2)[..., -depth:].reshape(height, -1)
        rows = np.packbits(bits, axis=1)
    else:
        rows = rows.astype(">u2" if depth == 16 else np.uint8).view(np.uint8).reshape(height, -1)
    content = b"".join(b"\0" + row.tobytes() for row in rows)
    header = Part(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return join_png([header, *parts, Part(b"IDAT", zlib.compress(content)), Part(b"IEND", b"")])


def on_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Composites fully opaque and fully transparent pixels."""
    return np.where(alpha[..., None] == 255, colour, WHITE).astype(np.uint8)


def _half_alpha() -> np.ndarray:
    return np.where(np.arange(WIDTH) < WIDTH // 2, 255, 0).astype(np.uint8)[None].repeat(HEIGHT, 0)


def _jpegs() -> Iterator[Odd]:
    picture = Image.fromarray(rgb())
    cmyk = encoded(picture.convert("CMYK"), "JPEG")
    files = {
        "jpeg-cmyk-of-adobe": cmyk,
        "jpeg-cmyk-not-of-adobe": join_jpeg([part for part in split_jpeg(cmyk) if part.kind != b"\xff\xee"]),
        "jpeg-ycck": cmyk.replace(b"Adobe\0d\0\0\0\0\0", b"Adobe\0d\0\0\0\0\2"),
        "jpeg-rgb": encoded(picture, "JPEG", keep_rgb=True),
        "jpeg-grey": encoded(picture.convert("L"), "JPEG"),
        "jpeg-progressive": encoded(picture, "JPEG", progressive=True),
    }
    assert files["jpeg-ycck"] != cmyk
    for name, raw in files.items():
        yield Odd(name, raw, plainly_decoded(raw))


def _deep_and_shallow() -> Iterator[Odd]:
    colour = rgb()
    grey = colour[..., :1]
    deep = (colour.astype(np.uint32) * 257).astype(np.uint16)
    grey_as_rgb = grey.repeat(3, 2)
    palette = Part(b"PLTE", np.random.default_rng(1).integers(0, 256, 48, np.uint8).tobytes())
    shades = np.frombuffer(palette.payload, np.uint8).reshape(-1, 3)
    yield Odd("png-16-bit-grey", png(deep[..., :1], 16, 0), grey_as_rgb)
    yield Odd("png-16-bit-colour", png(deep, 16, 2), colour)
    yield Odd("png-1-bit-grey", png(grey >> 7, 1, 0), grey_as_rgb // 128 * 255)
    yield Odd("png-4-bit-palette", png(grey >> 4, 4, 3, palette), shades[grey[..., 0] >> 4])
    yield Odd("png-interlaced", _INTERLACED, plainly_decoded(_INTERLACED))


def _transparent() -> Iterator[Odd]:
    colour, alpha = rgb(), _half_alpha()
    grey, deep_alpha = colour[..., :1], alpha[..., None].astype(np.uint16) * 257
    deep = np.concatenate([colour.astype(np.uint16) * 257, deep_alpha], 2)
    seen, seen_grey = on_white(colour, alpha), on_white(grey.repeat(3, 2), alpha)
    yield Odd("png-grey-and-alpha", png(np.dstack([grey, alpha]), 8, 4), seen_grey)
    yield Odd("png-16-bit-grey-and-alpha", png(np.dstack([deep[..., :1], deep_alpha]), 16, 4), seen_grey)
    yield Odd("png-colour-and-alpha", png(np.dstack([colour, alpha]), 8, 6), seen)
    yield Odd("png-16-bit-colour-and-alpha", png(deep, 16, 6), seen)
    marked = colour.copy()
    marked[:, WIDTH // 2 :] = (1, 2, 3)
    as_deep = b"".join(struct.pack(">H", value) for value in (1, 2, 3))
    yield Odd("png-one-transparent-colour", png(marked, 8, 2, Part(b"tRNS", as_deep)), seen)
    yield Odd("png-one-transparent-grey", png(marked[..., :1], 8, 0, Part(b"tRNS", as_deep[:2])), seen_grey)
    index = (alpha == 0).astype(np.uint8)[..., None]
    index[::2, : WIDTH // 4] = 2
    parts = [Part(b"PLTE", bytes([200, 30, 60, 9, 9, 9, 10, 250, 90])), Part(b"tRNS", bytes([255, 0, 255]))]
    shades = np.array([[200, 30, 60], [255, 255, 255], [10, 250, 90]], np.uint8)
    yield Odd("png-palette-with-alpha", png(index, 8, 3, *parts), shades[index[..., 0]])
    raw = encoded(np.dstack([colour, alpha]), "WEBP", lossless=True)
    yield Odd("webp-lossless-with-alpha", raw, seen)


def _rotations() -> Iterator[Odd]:
    shown = Image.fromarray(rgb())
    transposes = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # what puts the upright picture into the stored position
    for orientation in range(1, 9):
        stored = shown if orientation == 1 else shown.transpose(Image.Transpose(transposes[orientation]))
        yield Odd(f"exif-{orientation}", encoded(stored, "PNG", exif=_exif(orientation)), rgb())
    yield Odd("exif-of-no-meaning", encoded(shown, "PNG", exif=_exif(77)), rgb())
    yield Odd("exif-broken", encoded(shown, "PNG", exif=b"Exif\0\0no TIFF at all"), "undecodable")
    cut = encoded(shown, "PNG", exif=_exif(6).tobytes()[:20])
    yield Odd("exif-cut-short", cut, rgb())


def _profiles() -> Iterator[Odd]:
    raw = encoded(rgb(), "JPEG", icc_profile=b"\x93" * 700)
    yield Odd("icc-of-garbage", raw, plainly_decoded(raw))
    raw = encoded(rgb(), "JPEG", icc_profile=np.random.default_rng(3).bytes(2_000_000))
    yield Odd("icc-of-two-megabytes", raw, plainly_decoded(raw))


def _frames() -> Iterator[Odd]:
    frames = [Image.fromarray(np.roll(rgb(), 8 * number, 1)) for number in range(3)]
    raw = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=50, disposal=1)
    yield Odd("apng", raw, rgb())
    raw = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    yield Odd("webp-animated", raw, rgb())
    for disposal in (2, 3):
        raw = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], disposal=disposal)
        yield Odd(f"gif-disposal-{disposal}", raw, plainly_decoded(raw))
    still = encoded(frames[0], "GIF")
    small_frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    yield Odd("gif-of-ten-thousand-frames", still[:-1] + small_frame * 10_000 + b";", plainly_decoded(still))


def _sizes() -> Iterator[Odd]:
    whole = encoded(rgb(), "PNG")
    yield Odd("1x1", png(np.zeros((1, 1, 3)), 8, 2), "too_small")
    yield Odd("1x65500", png(np.zeros((65500, 1, 1)), 8, 0), "too_small")
    yield Odd("9x65500", png(np.zeros((65500, 9, 1)), 8, 0), "extreme_aspect")
    yield Odd("png-0x0", _with_size(whole, 0, 0), "not_an_image")
    yield Odd("gif-0x0", b"GIF89a" + bytes(7) + b";", "not_an_image")
    yield Odd("png-huge-by-its-header", _with_size(whole, 65_535, 65_535), "too_many_pixels")
    jpeg = encoded(rgb(), "JPEG")
    sized = jpeg.replace(struct.pack(">HH", HEIGHT, WIDTH), struct.pack(">HH", 65_500, 65_500), 1)
    yield Odd("jpeg-huge-by-its-header", sized, "too_many_pixels")
    gif = encoded(rgb(), "GIF")
    yield Odd("gif-huge-by-its-header", gif[:6] + b"\xff\xff\xff\xff" + gif[10:], "too_many_pixels")
    yield Odd("flat", encoded(np.full((HEIGHT, WIDTH, 3), 77, np.uint8), "PNG"), "flat")


def _bombs() -> Iterator[Odd]:
    whole = split_png(encoded(rgb(), "PNG"))
    bomb = zlib.compress(bytes(80_000_000), 9)
    yield Odd("png-bomb-in-a-text", join_png([whole[0], Part(b"zTXt", b"a\0\0" + bomb), *whole[1:]]), "undecodable")
    yield Odd("png-bomb-in-a-profile", join_png([whole[0], Part(b"iCCP", b"a\0\0" + bomb), *whole[1:]]), "undecodable")
    nine = Part(b"IHDR", struct.pack(">IIBBBBB", 9400, 9400, 8, 2, 0, 0, 0))
    yield Odd("png-of-ten-kilobytes-and-88-megapixels", join_png([nine, Part(b"IDAT", bomb)]), "too_many_pixels")
    yield Odd("png-longer-than-its-size", join_png([whole[0], Part(b"IDAT", bomb), whole[-1]]), "flat")


def _mixed() -> Iterator[Odd]:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(zipfile.ZipInfo("evil.txt", (2026, 1, 1, 0, 0, 0)), "evil")
    picture, jpeg = encoded(rgb(), "PNG"), encoded(rgb(), "JPEG")
    yield Odd("png-and-zip", picture + stream.getvalue(), rgb())
    yield Odd("jpeg-with-junk-after-it", jpeg + b"\0junk" * 9999, plainly_decoded(jpeg))
    gif = encoded(rgb(), "GIF")
    yield Odd("gif-and-script", gif[:6] + b"/*" + gif[8:] + b"*/=1;alert(1)", "extreme_aspect")
    header, *rest = split_png(picture)
    yield Odd("png-with-two-headers", join_png([header, header, *rest]), rgb())
    for name, raw in _NO_PICTURES.items():
        yield Odd(f"{name}-named-jpg", raw, "not_an_image")


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _with_size(raw: bytes, width: int, height: int) -> bytes:
    header, *rest = split_png(raw)
    return join_png([Part(b"IHDR", struct.pack(">II", width, height) + header.payload[8:]), *rest])


def _interlaced() -> bytes:
    """Writes the seven passes of Adam7."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = [row for x, y, dx, dy in passes for row in rgb()[y::dy, x::dx]]
    content = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = Part(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 1))
    return join_png([header, Part(b"IDAT", content), Part(b"IEND", b"")])


_INTERLACED = _interlaced()
_NO_PICTURES: dict[str, bytes] = {
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg' width='48' height='40'><rect width='9' height='9'/></svg>",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 48 40\nshowpage\n",
    "pdf": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n",
    "heif": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400),
    "html": b"<!DOCTYPE html><html><head><title>404</title></head><body>Not found</body></html>",
    "nothing": b"",
}
