import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from minimagen.sources.scene_drawing import (
    Sprites,
    draw_scene,
    lay_sprite,
    read_sprite_names,
    read_sprites,
    scale_sprite,
)
from minimagen.sources.scene_grammar import BACKGROUNDS, Scene, SceneObject

SHEET = Path(__file__).parents[2] / "data/assets/sprites.parquet"
BLOCKS = Sprites(
    {
        "coal": np.full((64, 64, 4), (0, 0, 0, 255), np.uint8),
        "ruby": np.full((64, 64, 4), (255, 0, 0, 255), np.uint8),
        "air": np.full((64, 64, 4), (9, 9, 9, 0), np.uint8),
    }
)


def lone(name: str, size: str = "large", position: str = "center") -> Scene:
    return Scene((SceneObject(name, size, position),), None, "white")


def box_of(picture: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero((picture != 255).any(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def test_the_committed_sheet_holds_hundreds_of_square_sprites_with_plain_names() -> None:
    names, sprites = read_sprite_names(SHEET), read_sprites(SHEET)

    assert len(names) == len(set(names)) == len(sprites.pixels) >= 500
    assert SHEET.stat().st_size <= 3_000_000
    assert {picture.shape for picture in sprites.pixels.values()} == {(64, 64, 4)}
    assert all(name.isascii() and name == name.lower().strip() and not name.endswith(" face") for name in names)
    assert {"red apple", "banana", "frog"} <= set(names)


def test_no_two_sprites_of_the_sheet_look_the_same() -> None:
    layers = [
        lay_sprite(scale_sprite(picture, side=1, size=16), x=0.5, y=0.5, size=16).ravel()
        for picture in read_sprites(SHEET).pixels.values()
    ]
    stack = np.stack(layers).astype(np.float64)

    squares = np.square(stack).sum(1)
    distances = squares[:, None] + squares - 2 * stack @ stack.T
    np.fill_diagonal(distances, np.inf)

    assert distances.min() > 9  # the nearest two are flatbread and full moon


def test_only_the_sprites_asked_for_are_read() -> None:
    assert list(read_sprites(SHEET, {"fox", "frog"}).pixels) == ["fox", "frog"]


def test_a_sheet_of_another_maker_is_read(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (10, 10), (1, 2, 3)).save(stream, "PNG")
    table = pa.table({"name": ["brick"], "image": [{"bytes": stream.getvalue(), "path": "brick.png"}]})
    pq.write_table(table, tmp_path / "own.parquet")

    sprites = read_sprites(tmp_path / "own.parquet")

    assert sprites.pixels["brick"][0, 0].tolist() == [1, 2, 3, 255]


@pytest.mark.parametrize("size", [16, 50, 128])
def test_objects_have_their_size_and_place(size: int) -> None:
    left, top, right, bottom = box_of(draw_scene(lone("coal", "large", "top left"), BLOCKS, size))

    assert right - left == pytest.approx(0.54 * size, abs=1.5)
    assert (left + right) / 2 == pytest.approx(0.28 * size, abs=1)
    assert (top + bottom) / 2 == pytest.approx(0.28 * size, abs=1)


def test_every_place_leaves_the_whole_object_within_the_picture() -> None:
    for position in ("top left", "top right", "bottom left", "bottom right"):
        left, top, right, bottom = box_of(draw_scene(lone("coal", "large", position), BLOCKS, 100))
        assert left >= 1 and top >= 1 and right <= 99 and bottom <= 99


def test_edges_are_antialiased_to_a_fraction_of_a_pixel() -> None:
    layer = lay_sprite(scale_sprite(BLOCKS.pixels["coal"], side=0.5, size=8), x=0.5 + 0.25 / 8, y=0.5, size=8)

    np.testing.assert_allclose(layer[4, :, 3], [0, 0, 0.75, 1, 1, 1, 0.25, 0], atol=1e-6)


def test_alpha_is_the_covered_area() -> None:
    layer = lay_sprite(scale_sprite(BLOCKS.pixels["ruby"], side=0.3, size=40), x=0.4, y=0.6, size=40)

    assert layer[..., 3].sum() == pytest.approx((0.3 * 40) ** 2, rel=1e-5)
    np.testing.assert_array_equal(layer[..., 0], layer[..., 3])
    assert layer.dtype == np.float32


@pytest.mark.parametrize("center", [(-0.1, 0.5), (0.5, 1.1), (1.05, -0.05), (3.0, 0.5)])
def test_what_stands_outside_is_cut_off(center: tuple[float, float]) -> None:
    scaled = scale_sprite(BLOCKS.pixels["coal"], side=0.5, size=16)
    wide = lay_sprite(
        scale_sprite(BLOCKS.pixels["coal"], side=0.1, size=80), x=(center[0] + 2) / 5, y=(center[1] + 2) / 5, size=80
    )

    layer = lay_sprite(scaled, x=center[0], y=center[1], size=16)

    np.testing.assert_allclose(layer, wide[32:48, 32:48], atol=1e-6)


def test_transparent_sprites_show_the_background() -> None:
    picture = draw_scene(lone("air"), BLOCKS, 20)

    assert picture.dtype == np.uint8
    assert (picture == BACKGROUNDS["white"]).all()


@pytest.mark.parametrize("relation", ["left of", "right of", "above", "below"])
def test_two_objects_stand_as_the_relation_says(relation: str) -> None:
    scene = Scene((SceneObject("coal"), SceneObject("ruby")), relation, "white")

    picture = draw_scene(scene, BLOCKS, 64).astype(int)

    is_coal, is_ruby = picture.sum(2) == 0, (picture == (255, 0, 0)).all(2)
    moves = np.argwhere(is_coal).mean(0) - np.argwhere(is_ruby).mean(0)  # (down, right)
    directions = {"left of": (0, -1), "right of": (0, 1), "above": (-1, 0), "below": (1, 0)}
    np.testing.assert_allclose(moves / 64, 0.48 * np.array(directions[relation]), atol=0.02)


def test_displacements_move_objects_right_and_down() -> None:
    still, moved = (
        box_of(draw_scene(lone("coal", "small"), BLOCKS, 100, displacement)) for displacement in (None, [(0.1, -0.2)])
    )

    assert np.subtract(moved, still).tolist() == [10, -20, 10, -20]


def test_colours_are_clearly_distinct() -> None:
    colours = np.array(list(BACKGROUNDS.values()), float)
    distances = np.linalg.norm(colours[:, None] - colours, axis=2) + 1e9 * np.eye(len(colours))

    assert len(colours) >= 8
    assert distances.min() > 80
