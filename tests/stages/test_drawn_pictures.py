"""Batches of pictures: drawn once, kept whole, drawn again only if damaged."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from minimagen.shapes import PixelImages
from minimagen.stages.drawn_pictures import PIXELS_FILE, draw_in_batches


def _pictures(positions: Sequence[int]) -> dict[str, PixelImages]:
    pixels = np.stack([np.full((2, 2, 3), position, np.uint8) for position in positions])
    return {"base": pixels, "super": np.repeat(np.repeat(pixels, 2, axis=1), 2, axis=2)}


def _drawer(drawn: list[list[int]]) -> Callable[[Sequence[int]], dict[str, PixelImages]]:
    def draw(positions: Sequence[int]) -> dict[str, PixelImages]:
        drawn.append(list(positions))
        return _pictures(positions)

    return draw


def _run(folder: Path, positions: list[int], batch_size: int = 2) -> tuple[dict[str, PixelImages], list[list[int]]]:
    drawn: list[list[int]] = []
    draw = _drawer(drawn)
    found = draw_in_batches(positions, folder=folder, batch_size=batch_size, draw=draw, report=lambda _: None)
    return found, drawn


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_pictures_come_in_the_order_of_positions_whatever_the_batch(tmp_path: Path, batch_size: int):
    found, _ = _run(tmp_path, [4, 2, 7, 1, 9], batch_size)

    expected = _pictures([4, 2, 7, 1, 9])
    assert found.keys() == expected.keys()
    for name, pixels in expected.items():
        np.testing.assert_array_equal(found[name], pixels)


def test_a_batch_that_was_drawn_is_read_and_not_drawn_again(tmp_path: Path):
    first, drawn = _run(tmp_path, [4, 2, 7])

    second, drawn_again = _run(tmp_path, [4, 2, 7])

    assert (drawn, drawn_again) == ([[4, 2], [7]], [])
    np.testing.assert_array_equal(first["super"], second["super"])


def test_a_damaged_batch_is_drawn_again(tmp_path: Path):
    _run(tmp_path, [4, 2, 7])
    path = next(tmp_path.glob("*-1")) / PIXELS_FILE
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")

    found, drawn = _run(tmp_path, [4, 2, 7])

    assert drawn == [[7]]
    np.testing.assert_array_equal(found["base"], _pictures([4, 2, 7])["base"])


def test_every_batch_is_reported_drawn_or_read(tmp_path: Path):
    for _ in range(2):
        sizes: list[int] = []
        draw_in_batches([4, 2, 7], folder=tmp_path, batch_size=2, draw=_drawer([]), report=sizes.append)
        assert sizes == [2, 1]
