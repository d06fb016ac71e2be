"""1,230 damaged files of pictures, each named, each a function of its name: cut short, bits flipped, parts mutated."""

import functools
import io
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from tests.sources import picture_parts
from tests.sources.picture_parts import MUTATIONS, Part, Parts

NUM_CUTS = 60
NUM_FLIPS = 120
SIZE = (48, 40)


@dataclass(frozen=True, slots=True)
class Container:
    """A format: how the whole picture is encoded, and how its file is taken apart."""

    encode: Callable[[], bytes]
    split: Callable[[bytes], Parts]
    join: Callable[[Sequence[Part]], bytes]


@dataclass(frozen=True, slots=True)
class Damaged:
    """One damaged file."""

    name: str
    """"<format>-<damage>-<number>"."""
    kind: str
    """"<format>-cut", "<format>-flip" or "<format>-part"."""
    raw: bytes


@functools.cache
def whole_file(name: str) -> bytes:
    """Returns the undamaged file of a format."""
    return CONTAINERS[name].encode()


def damaged_pictures() -> Iterator[Damaged]:
    """Yields all of them, in a fixed order."""
    for name, container in CONTAINERS.items():
        raw = whole_file(name)
        for number in range(NUM_CUTS):
            yield Damaged(f"{name}-cut-{number:02d}", f"{name}-cut", raw[: len(raw) * number // NUM_CUTS])
        for number in range(NUM_FLIPS):
            yield Damaged(f"{name}-flip-{number:03d}", f"{name}-flip", _flipped(raw, random.Random(f"{name}-{number}")))
        parts = container.split(raw)
        assert container.join(parts) == raw, f"{name}: is not put together as it was"
        for mutation, mutate in MUTATIONS.items():
            mutated = mutate(parts, random.Random(f"{name}-{mutation}"))
            yield Damaged(f"{name}-{mutation}", f"{name}-part", container.join(mutated))


def _flipped(raw: bytes, choice: random.Random) -> bytes:
    damaged = bytearray(raw)
    damaged[choice.randrange(len(raw))] ^= 1 << choice.randrange(8)
    return bytes(damaged)


def _noise() -> Image.Image:
    coarse = np.random.default_rng(11).integers(0, 256, (SIZE[1] // 4, SIZE[0] // 4, 3), dtype=np.uint8)
    return Image.fromarray(np.kron(coarse, np.ones((4, 4, 1), np.uint8)))


def _encoded(kind: str, **options: object) -> bytes:
    """Encodes with what metadata a format can hold: its parts are damaged too."""
    exif = Image.Exif()
    exif[0x010E] = "a description"
    stream = io.BytesIO()
    picture = _noise().quantize(64) if kind == "GIF" else _noise()
    picture.save(stream, kind, exif=exif, icc_profile=b"a profile" * 9, comment="a comment", dpi=(72, 72), **options)
    return stream.getvalue()


def _two_photographs() -> bytes:
    return _encoded("MPO", save_all=True, append_images=[_noise().rotate(180)])


CONTAINERS = {
    "jpeg": Container(lambda: _encoded("JPEG"), picture_parts.split_jpeg, picture_parts.join_jpeg),
    "png": Container(lambda: _encoded("PNG"), picture_parts.split_png, picture_parts.join_png),
    "webp": Container(lambda: _encoded("WEBP"), picture_parts.split_webp, picture_parts.join_webp),
    "gif": Container(lambda: _encoded("GIF"), picture_parts.split_gif, picture_parts.join_gif),
    "mpo": Container(_two_photographs, picture_parts.split_jpeg, picture_parts.join_jpeg),
    "bmp": Container(lambda: _encoded("BMP"), picture_parts.split_bmp, picture_parts.join_bmp),
}
