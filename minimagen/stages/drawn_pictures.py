"""Pictures of an evaluation in batches that outlive an interruption: each is drawn once and kept until the end.

Knows neither captions nor cascades: a batch comes from a function. The folder belongs to one evaluation, whose name
holds all that the pictures depend on.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load, save

from minimagen.sealed import SealError, read_sealed, write_sealed
from minimagen.shapes import PixelImages

PIXELS_FILE = "pixels.safetensors"


def draw_in_batches(
    positions: Sequence[int],
    *,
    folder: Path,
    batch_size: int,
    draw: Callable[[Sequence[int]], dict[str, PixelImages]],
    report: Callable[[int], None],
) -> dict[str, PixelImages]:
    """Draws pictures for ``positions``, or reads the batches that an interrupted evaluation has drawn.

    Args:
        draw: returns the pictures of some positions, under the same names each time.
        report: is told the size of each batch that is ready.

    Returns:
        All pictures by name, in the order of ``positions``.
    """
    batches: list[dict[str, PixelImages]] = []
    for start in range(0, len(positions), batch_size):
        chunk = positions[start : start + batch_size]
        path = folder / f"{start:06d}-{len(chunk)}"
        pictures = _read(path)
        if pictures is None:
            pictures = draw(chunk)
            write_sealed(path, [(PIXELS_FILE, save(pictures))], {})
        batches.append(pictures)
        report(len(chunk))
    return {name: np.concatenate([batch[name] for batch in batches]) for name in _names(batches)}


def _read(path: Path) -> dict[str, PixelImages] | None:
    if not path.is_dir():
        return None
    try:
        read_sealed(path)
    except SealError:
        return None  # damaged: the batch is drawn again and the folder replaced
    return load((path / PIXELS_FILE).read_bytes())


def _names(batches: Iterable[dict[str, PixelImages]]) -> list[str]:
    return next(([*batch] for batch in batches), [])
