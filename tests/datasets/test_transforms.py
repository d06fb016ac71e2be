import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minimagen.datasets.transforms import PAD_VALUE, Crop, crop_square, resize_pixels, to_float, to_pixels


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("crop", "offset", "top", "left"),
    [("center", 0.0, 3, 0), ("top", 0.9, 0, 0), ("random", 0.0, 0, 0), ("random", 1.0, 6, 0), ("random", 0.5, 3, 0)],
)
def test_a_tall_picture_is_cut_where_the_crop_says(crop: Crop, offset: float, top: int, left: int) -> None:
    image = picture(10, 4)

    np.testing.assert_array_equal(crop_square(image, crop, offset), image[top : top + 4, left : left + 4])


@pytest.mark.parametrize(("crop", "left"), [("center", 3), ("top", 3), ("random", 6)])
def test_a_wide_picture_is_cut_sideways_and_its_top_is_its_middle(crop: Crop, left: int) -> None:
    image = picture(4, 10)

    np.testing.assert_array_equal(crop_square(image, crop, 1.0), image[:, left : left + 4])


@pytest.mark.parametrize(("height", "width"), [(5, 9), (9, 5), (4, 5)])
def test_padding_keeps_every_pixel_and_adds_white(height: int, width: int) -> None:
    image = picture(height, width)

    square = crop_square(image, "pad")

    side = max(height, width)
    assert square.shape == (side, side, 3)
    top, left = (side - height) // 2, (side - width) // 2
    np.testing.assert_array_equal(square[top : top + height, left : left + width], image)
    assert (square == PAD_VALUE).all(axis=-1).sum() >= side * side - height * width


def test_squashing_keeps_the_whole_picture() -> None:
    image = np.zeros((8, 16, 3), np.uint8)
    image[:, 8:] = 255

    square = crop_square(image, "squash")

    assert square.shape == (8, 8, 3)
    assert (square[:, :3] <= 2).all() and (square[:, 5:] >= 253).all()


@pytest.mark.parametrize("crop", ["center", "top", "random", "pad", "squash"])
@pytest.mark.parametrize("side", [1, 7])
def test_a_square_picture_stays_as_it_is(crop: Crop, side: int) -> None:
    image = picture(side, side)

    np.testing.assert_array_equal(crop_square(image, crop), image)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(40, 60, (16, 24)), (60, 40, (24, 16)), (8, 9, (16, 18)), (16, 16, (16, 16)), (33, 17, (31, 16))],
)
def test_resizing_sets_the_short_side_and_keeps_the_aspect(height: int, width: int, expected: tuple[int, int]) -> None:
    assert resize_pixels(picture(height, width), 16).shape == (*expected, 3)


def test_resizing_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255

    assert np.abs(resize_pixels(stripes, 16)[:, 1:-1].astype(int) - 127).max() <= 4


def test_the_value_map_is_fixed_whatever_the_picture_holds() -> None:
    pixels = np.full((2, 3, 5, 3), 100, np.uint8)
    pixels[1] = 0
    pixels[1, 0, 0] = 255

    images = to_float(pixels)

    assert images.shape == (2, 3, 3, 5) and images.dtype == torch.float32
    torch.testing.assert_close(images[0], torch.full((3, 3, 5), 100 / 127.5 - 1), rtol=0, atol=1e-7)
    assert images[1].min() == -1.0 and images[1].max() == 1.0


def test_all_bytes_survive_the_round_trip() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)

    np.testing.assert_array_equal(to_pixels(to_float(pixels)), pixels)


def test_values_outside_the_range_are_clamped_not_wrapped() -> None:
    images = torch.tensor([-5.0, -1.0, 1.0, 7.0]).reshape(1, 1, 2, 2).expand(1, 3, 2, 2)

    assert to_pixels(images)[0, ..., 0].tolist() == [[0, 0], [255, 255]]


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(["center", "top", "random", "pad", "squash"]),
    st.floats(0, 1),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_every_crop_of_every_size_is_square(height: int, width: int, crop: Crop, offset: float) -> None:
    square = crop_square(picture(height, width), crop, offset)

    expected = max(height, width) if crop == "pad" else min(height, width)
    assert square.shape == (expected, expected, 3) and square.dtype == np.uint8
