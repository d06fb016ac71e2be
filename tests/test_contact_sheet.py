import numpy as np
import pytest

from minimagen.contact_sheet import contact_sheet


def pictures(num: int, size: int, value: int | tuple[int, int, int]) -> np.ndarray:
    return np.full((num, size, size, 3), value, dtype=np.uint8)


def test_every_picture_of_every_stage_is_on_the_sheet() -> None:
    red, green = (200, 30, 10), (10, 200, 30)
    base, top = pictures(3, 8, red), pictures(3, 16, green)

    sheet = np.asarray(contact_sheet([base, top], ["a", "b", "c"], num_columns=2))

    cell = 96
    assert (sheet == red).all(axis=-1).sum() == 3 * cell * cell
    assert (sheet == green).all(axis=-1).sum() == 3 * cell * cell


def test_long_captions_are_wrapped_under_their_picture() -> None:
    short = contact_sheet([pictures(1, 32, 0)], ["a"], num_columns=4)
    long = contact_sheet([pictures(1, 32, 0)], ["a very long caption " * 5], num_columns=4)

    assert long.width == short.width
    assert long.height > short.height


def test_a_stage_with_another_number_of_pictures_is_refused() -> None:
    with pytest.raises(ValueError, match=r"2 captions, but stages of \[3\]"):
        contact_sheet([pictures(3, 8, 0)], ["a", "b"], num_columns=2)
