from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.comparison import Row
from flows.comparison_page import html_page, picture_columns, write_comparison
from minimagen.evaluation.pairs import DRAWN, REAL, Pairs
from tests.flows.test_comparison import ROWS
from tests.serving.browser import chromium


def drawn(row: Row, *captions: str) -> Row:
    """Returns the experiment with pictures whose value is the place of their caption in the alphabet."""
    values = np.array([ord(caption[0]) for caption in captions], np.uint8)
    pictures = np.broadcast_to(values[:, None, None, None], (len(captions), 8, 8, 3))
    return replace(row, pairs=Pairs(captions, {REAL: pictures, DRAWN: pictures + 100}))


def test_sheet_shows_the_captions_that_every_experiment_drew() -> None:
    rows = [drawn(ROWS[0], "fox", "owl", "bee"), drawn(ROWS[1], "bee", "owl", "cat")]

    columns = picture_columns(rows)

    assert list(columns) == ["real picture", *(f"dim 16, dim_mults [1, 2], num_steps {steps}" for steps in (20, 10))]
    assert [pictures[:, 0, 0, 0].tolist() for pictures in columns.values()] == [[111, 98], [211, 198], [211, 198]]


def test_all_is_written_and_shown_on_one_page(tmp_path: Path) -> None:
    rows = [drawn(row, "a <fox>") for row in ROWS]

    names = [path.name for path in write_comparison(tmp_path, rows)]

    assert names == ["table.csv", "table.md", "comparison.html", "figure.svg", "pictures.png"]
    with Image.open(tmp_path / "pictures.png") as sheet:
        assert sheet.width > 5 * 96
    shown = (tmp_path / "comparison.html").read_text()
    assert '<td class="best">0.003125</td>' in shown and "a &lt;fox&gt;" in shown and "data:image/png;base64" in shown


def test_without_pictures_or_numbers_the_rest_is_written(tmp_path: Path) -> None:
    rows = [Row("a", {"dim_mults": [1, 2]}, {"unets.base.loss": 1.0}, "0")]

    assert [path.name for path in write_comparison(tmp_path, rows)] == ["table.csv", "table.md", "comparison.html"]
    assert "<img" not in html_page(rows)


@pytest.mark.browser
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844), (320, 568)])
def test_it_fits_a_desktop_and_a_phone_and_complains_of_nothing(tmp_path: Path, width: int, height: int) -> None:
    write_comparison(tmp_path, [drawn(row, "a <fox> " * 20) for row in ROWS])

    with chromium(tmp_path / "profile") as page:
        page.resize(width, height, is_phone=width < 500)
        page.open((tmp_path / "comparison.html").as_uri())

        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("[...document.images].every((one) => one.complete && one.naturalWidth > 0 && one.alt)")
        assert page.complaints == []
        assert [url for url in page.urls if not url.startswith(("data:", "file:"))] == []
