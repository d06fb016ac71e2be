"""Scenes as pixels: sprites of the sheet laid on a background, antialiased at whole-picture precision.

Does not know captions, data sets or randomness: the displacement of an object is an argument.
"""

import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from einops import reduce
from PIL import Image

from minimagen.sources.scene_grammar import BACKGROUNDS, MIRRORED, Scene

DRAWING_VERSION = "1"
"""Raise it when the same scene comes out differently: shards drawn before are then drawn again."""

SUPERSAMPLING = 4
"""Sub-pixels per side of a pixel; edges and displacements are exact to 1 / SUPERSAMPLING px."""

SIDES = {"small": 0.36, "large": 0.54}
"""Longest side of a lone object, in picture sides."""
PAIR_SIDE = 0.44
"""Longest side of each of two objects, in picture sides."""

CENTERS = {
    "center": (0.5, 0.5),
    "top": (0.5, 0.28),
    "bottom": (0.5, 0.72),
    "left": (0.28, 0.5),
    "right": (0.72, 0.5),
    "top left": (0.28, 0.28),
    "top right": (0.72, 0.28),
    "bottom left": (0.28, 0.72),
    "bottom right": (0.72, 0.72),
}
"""Center of a lone object: x to the right and y down, in picture sides."""
PAIR_CENTERS = {"left of": ((0.26, 0.5), (0.74, 0.5)), "above": ((0.5, 0.26), (0.5, 0.74))}
"""Centers of the first and the second of two objects."""


@dataclass(frozen=True, slots=True)
class Sprites:
    """Pictures of objects by name: uint8 RGBA, square, cut to the object."""

    pixels: dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an object stands: its center (x to the right, y down) and longest side, in picture sides."""

    name: str
    x: float
    y: float
    side: float


def read_sprite_names(sheet: Path) -> tuple[str, ...]:
    """Returns the names of the sheet's sprites, in its order."""
    return tuple(pq.read_table(sheet, columns=["name"])["name"].to_pylist())


def read_sprites(sheet: Path, names: Collection[str] | None = None) -> Sprites:
    """Reads the sprites called ``names``; None reads all."""
    table = pq.read_table(sheet, columns=["name", "image"])
    rows = zip(table["name"].to_pylist(), table["image"].to_pylist(), strict=True)
    return Sprites({name: _decode(image["bytes"]) for name, image in rows if names is None or name in names})


def _decode(encoded: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(image.convert("RGBA"))


def placements_of(scene: Scene) -> tuple[Placement, ...]:
    """Returns where the objects of a scene stand before any displacement."""
    if scene.relation is None:
        lone = scene.objects[0]
        assert lone.size is not None and lone.position is not None
        return (Placement(lone.name, *CENTERS[lone.position], SIDES[lone.size]),)
    centers = PAIR_CENTERS[MIRRORED.get(scene.relation, scene.relation)]
    if scene.relation in MIRRORED:
        centers = centers[::-1]
    return tuple(Placement(one.name, *center, PAIR_SIDE) for one, center in zip(scene.objects, centers, strict=True))


def scale_sprite(sprite: np.ndarray, *, side: float, size: int) -> np.ndarray:
    """Returns a sprite at the sub-pixel resolution of a picture of ``size`` px.

    Args:
        side: longest side of the object, in picture sides.

    Returns:
        uint8, square, RGBA with the colours multiplied by alpha.
    """
    side_fine = max(1, round(side * size * SUPERSAMPLING))
    scaled = Image.fromarray(sprite).convert("RGBa").resize((side_fine, side_fine), Image.Resampling.BICUBIC)
    return np.asarray(scaled)


def lay_sprite(scaled: np.ndarray, *, x: float, y: float, size: int) -> np.ndarray:
    """Returns one object alone on a transparent picture; what stands outside of the picture is cut off.

    Args:
        scaled: as ``scale_sprite`` returns it for the same ``size``.
        x: center of the object to the right, in picture sides, as is ``y`` (down).

    Returns:
        float32 (size, size, 4): red, green and blue multiplied by alpha, and alpha, each 0..1.
    """
    fine, side_fine = size * SUPERSAMPLING, len(scaled)
    left, top = round(x * fine - side_fine / 2), round(y * fine - side_fine / 2)
    column, row = left // SUPERSAMPLING, top // SUPERSAMPLING
    cells = side_fine // SUPERSAMPLING + 2
    patch = np.zeros((cells * SUPERSAMPLING, cells * SUPERSAMPLING, 4), np.float32)
    patch[top % SUPERSAMPLING :, left % SUPERSAMPLING :][:side_fine, :side_fine] = scaled
    rows_summed = reduce(patch, "(row down) column rgba -> row column rgba", "sum", down=SUPERSAMPLING)
    coarse = reduce(rows_summed, "row (column right) rgba -> row column rgba", "sum", right=SUPERSAMPLING)
    layer = np.zeros((size, size, 4), np.float32)
    rows, columns = slice(max(row, 0), min(row + cells, size)), slice(max(column, 0), min(column + cells, size))
    layer[rows, columns] = coarse[rows.start - row : rows.stop - row, columns.start - column : columns.stop - column]
    return layer / (255 * SUPERSAMPLING**2)


def draw_scene(
    scene: Scene, sprites: Sprites, size: int, displacements: Sequence[tuple[float, float]] | None = None
) -> np.ndarray:
    """Draws a scene.

    Args:
        size: side of the picture, px.
        displacements: for each object how far it is moved right and down, in picture sides; None moves nothing.

    Returns:
        uint8 (size, size, 3), RGB.
    """
    placements = placements_of(scene)
    moves = [(0.0, 0.0)] * len(placements) if displacements is None else displacements
    picture = np.full((size, size, 3), BACKGROUNDS[scene.background], np.float32)
    for place, (right, down) in zip(placements, moves, strict=True):
        scaled = scale_sprite(sprites.pixels[place.name], side=place.side, size=size)
        layer = lay_sprite(scaled, x=place.x + right, y=place.y + down, size=size)
        picture = 255 * layer[..., :3] + (1 - layer[..., 3:]) * picture
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
