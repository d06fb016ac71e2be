"""Decoded pictures of any aspect in one flat array, in memory or in a file that is mapped into it.

Knows no caption and no split. The file is a cache: it is named by what it was made from, and made again if damaged.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from minimagen.datasets.transforms import Crop, crop_square, resize_pixels
from minimagen.files import sha256_file, write_json
from minimagen.shapes import PixelImage


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures by position."""

    pixels: np.ndarray
    """uint8, all pictures one after another."""
    sizes: np.ndarray
    """int64 of shape (n, 2): height and width."""
    starts: np.ndarray
    """int64 of shape (n,): where a picture begins in ``pixels``."""

    def __len__(self) -> int:
        return len(self.sizes)

    def picture(self, position: int) -> PixelImage:
        """Returns a view of one picture."""
        height, width = self.sizes[position]
        start = self.starts[position]
        return self.pixels[start : start + height * width * 3].reshape(height, width, 3)


def decode_picture(content: bytes, size: int, crop: Crop) -> PixelImage:
    """Decodes a stored picture to a short side of ``size`` px, enlarging where it is smaller.

    Only a random crop has to wait until the picture is used; every other one is made here, so the result is square.
    """
    with Image.open(io.BytesIO(content)) as opened:
        picture = np.asarray(opened.convert("RGB"))
    return resize_pixels(picture if crop == "random" else crop_square(picture, crop), size)


def pictures_in_memory(decoded: Iterable[PixelImage]) -> Pictures:
    """Keeps pictures in memory."""
    pictures = [np.ascontiguousarray(picture) for picture in decoded]
    pixels = np.concatenate([np.empty(0, np.uint8), *(picture.reshape(-1) for picture in pictures)])
    return _pictures(pixels, _sizes_array([picture.shape[:2] for picture in pictures]))


def pictures_in_file(path: Path, decoded: Iterable[PixelImage]) -> Pictures:
    """Maps the file ``path``, written from ``decoded`` first unless it is there and whole.

    Args:
        path: named by all that the pictures depend on; a record with sizes and SHA-256 stands beside it.
        decoded: consumed only if the file has to be written.
    """
    sizes = _read_sizes(path)
    if sizes is None:
        _write(path, iter(decoded))
        sizes = _read_sizes(path)
        assert sizes is not None, f"{path}: not readable after writing"
    empty = path.stat().st_size == 0
    return _pictures(np.empty(0, np.uint8) if empty else np.memmap(path, np.uint8, mode="r"), sizes)


def _sizes_array(sizes: Sequence[Sequence[int]]) -> np.ndarray:
    return np.array(sizes, dtype=np.int64).reshape(-1, 2)  # (0, 2) for no pictures


def _pictures(pixels: np.ndarray, sizes: np.ndarray) -> Pictures:
    return Pictures(pixels, sizes, np.concatenate([[0], np.cumsum(sizes.prod(axis=1) * 3)])[:-1])


def _write(path: Path, decoded: Iterator[PixelImage]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    digest, sizes = hashlib.sha256(), []
    try:
        with temporary.open("wb") as stream:
            for picture in decoded:
                content = picture.tobytes()
                stream.write(content)
                digest.update(content)
                sizes.append(picture.shape[:2])
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    write_json(_record_path(path), {"sha256": digest.hexdigest(), "sizes": sizes})


def _read_sizes(path: Path) -> np.ndarray | None:
    try:
        record = json.loads(_record_path(path).read_bytes())
        return _sizes_array(record["sizes"]) if record["sha256"] == sha256_file(path) else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # absent or damaged: the pictures are decoded again


def _record_path(path: Path) -> Path:
    return path.with_suffix(".json")
