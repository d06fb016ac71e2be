"""The report in Chromium: nothing is complained of, nobody is asked, and it fits a desktop and a phone."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from minimagen.evaluation.report import CaptionGallery, Column, render_report
from tests.evaluation.made_up_report import made_up_report
from tests.serving.browser import Page, chromium

pytestmark = pytest.mark.browser
PHONE, SMALL_PHONE, DESKTOP = (390, 844), (320, 568), (1280, 900)
LONG_CAPTION = "a very large red apple " * 12 + "x" * 90


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """A report with long captions and more columns of pictures than a phone is wide."""
    made_up = made_up_report()
    pixels = np.full((2, 64, 64, 3), 200, np.uint8)
    columns = [Column(f"after epoch {number}", pixels) for number in range(8)]
    epochs = CaptionGallery([LONG_CAPTION, ""], columns, "cascade", [{}, {}])
    file = tmp_path / "report.html"
    file.write_text(render_report(replace(made_up, epochs=epochs)), encoding="utf-8")
    with chromium(tmp_path / "profile") as opened:
        opened.resize(*DESKTOP)
        opened.open(file.as_uri())
        yield opened


def test_nothing_is_complained_of_and_nobody_is_asked(page: Page) -> None:
    assert page.complaints == []
    assert [url for url in page.urls if not url.startswith(("data:", "file:"))] == []
    assert page.evaluate("[...document.images].every((one) => one.complete && one.naturalWidth > 0 && one.alt)")


@pytest.mark.parametrize(("width", "height"), [DESKTOP, PHONE, SMALL_PHONE])
def test_it_fits_the_width(page: Page, width: int, height: int) -> None:
    page.resize(width, height, is_phone=width < 500)

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    smallest = "Math.min(...[...document.querySelectorAll('p, td, li, figcaption')].map({}))"
    assert page.evaluate(smallest.format("(one) => parseFloat(getComputedStyle(one).fontSize)")) >= 11
