import numpy as np
import pytest

from minimagen.contact_sheet import GAP_PX
from minimagen.picture_table import CAPTION_PX, picture_table


def solid(value: int, size: int = 4) -> np.ndarray:
    return np.full((2, size, size, 3), value, np.uint8)


def test_each_column_stands_under_its_title_in_the_rows_of_the_captions() -> None:
    columns = {"real picture": solid(10), "dim 8": np.concatenate([solid(90)[:1], solid(200)[:1]])}

    sheet = np.asarray(picture_table(["a fox", "an owl"], columns))

    cell = 96
    left = GAP_PX + CAPTION_PX
    top = sheet.shape[0] - 2 * (cell + GAP_PX)
    assert (sheet[top : top + cell, left : left + cell] == 10).all()
    assert (sheet[top : top + cell, left + cell + GAP_PX : left + 2 * cell + GAP_PX] == 90).all()
    assert (sheet[top + cell + GAP_PX : -GAP_PX, left + cell + GAP_PX : left + 2 * cell + GAP_PX] == 200).all()
    assert (sheet[:top, left:] < 255).any() and (sheet[top:, :CAPTION_PX] < 255).any(), (
        "titles and captions are written"
    )


def test_columns_of_other_sizes_are_shown_as_large_as_each_other() -> None:
    sheet = picture_table(["a fox", "an owl"], {"small": solid(0, 4), "large": solid(0, 64)})

    assert sheet.width == GAP_PX + CAPTION_PX + 2 * (128 + GAP_PX)


@pytest.mark.parametrize("columns", [{}, {"real picture": solid(0)[:1]}])
def test_column_without_a_picture_for_each_caption_is_refused(columns: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="2 captions, but columns of"):
        picture_table(["a fox", "an owl"], columns)
