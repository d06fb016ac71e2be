"""A host that serves what costs most to fetch and to decode; `picture_files` are at the limit of 16 megapixels."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from tests.simulators.server import Request, Response

MAX_BYTES = 20_000_000


@dataclass(slots=True)
class HostileHost:
    """Serves each file at /big/<name>/<anything>."""

    files: Mapping[str, bytes]
    prefixes: Sequence[str] = ("/big/",)

    def answer(self, request: Request) -> Response:
        """Answers one request."""
        return Response(200, self.files[request.path.split("/")[2]])


def picture_files(side: int, names: Sequence[str] = ()) -> dict[str, bytes]:
    """Returns a square picture of so many pixels in encodings each of which is decoded in a way of its own.

    Args:
        names: of those that are wanted; none means all.
    """
    coarse = np.random.default_rng(0).integers(0, 256, (20, 20, 4), dtype=np.uint8)
    layers = np.kron(coarse, np.ones((side // 20, side // 20, 1), np.uint8))
    rgba, rgb = Image.fromarray(layers), Image.fromarray(layers[..., :3].copy())
    deep = Image.fromarray(layers[..., 0].astype(np.uint16) * 257)
    encodings = {
        "rgba.png": lambda: _encoded(rgba, "PNG", compress_level=1),
        "grey-alpha.png": lambda: _encoded(rgba.convert("LA"), "PNG", compress_level=1),
        "palette.png": lambda: _encoded(rgb.quantize(16), "PNG", transparency=1),
        "deep.png": lambda: _encoded(deep, "PNG", compress_level=1, transparency=7),
        "baseline.jpg": lambda: _encoded(rgb, "JPEG"),
        "progressive.jpg": lambda: _encoded(rgb, "JPEG", progressive=True, subsampling=0),
        "cmyk.jpg": lambda: _encoded(rgb.convert("CMYK"), "JPEG", progressive=True, subsampling=0),
        "picture.gif": lambda: _encoded(rgb.quantize(16), "GIF", transparency=1),
        "picture.webp": lambda: _encoded(rgb, "WEBP", method=0),
    }
    return {name: encode() for name, encode in encodings.items() if not names or name in names}


def _encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()
