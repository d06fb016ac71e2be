"""The page in Chromium without a network: it works, complains of nothing, asks nobody else, and fits a phone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.served import Served, serving
from tests.serving.browser import Page, chromium
from tests.serving.studio_project import NUM_TRAINING, write_studio_project

pytestmark = pytest.mark.browser
PHONE, DESKTOP = (390, 844), (1280, 900)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = write_studio_project(tmp_path_factory.mktemp("project"), is_registered=False)
    with serving(["studio"], root) as running:
        yield running


@pytest.fixture
def page(served: Served, tmp_path: Path) -> Iterator[Page]:
    with chromium(tmp_path / "profile") as opened:
        opened.resize(*DESKTOP)
        opened.open(f"http://127.0.0.1:{served.port}/")
        opened.wait_for("document.getElementById('model').options.length > 0")
        yield opened


def draw(page: Page, **fields: object) -> None:
    for name, value in fields.items():
        page.evaluate(f"document.getElementById('{name}').value = {value!r}")
    page.evaluate("document.getElementById('draw').click()")
    page.wait_for("!document.getElementById('draw').disabled")


def text_of(page: Page, selector: str) -> str:
    return page.evaluate(f"document.querySelector({selector!r}).innerText")


def test_a_prompt_is_drawn_and_shown_with_all_that_belongs_to_it(page: Page) -> None:
    draw(page, prompt="a frog", number=2, seed=7)

    assert "drawn in" in text_of(page, "#status")
    assert page.evaluate("document.querySelectorAll('article').length") == 2
    assert text_of(page, "article h2") == "a frog \u00b7 seed 7, picture 1"
    count = "document.querySelectorAll('article:first-child .{} img').length"
    assert [page.evaluate(count.format(part)) for part in ("stages", "strips", "neighbours")] == [2, 2, 3]
    assert f"Nearest of {NUM_TRAINING} training pictures" in text_of(page, ".near h3")
    assert page.evaluate("[...document.images].every((one) => one.complete && one.naturalWidth > 0 && one.alt)")


def test_nothing_is_complained_of_and_nobody_else_is_asked(page: Page, served: Served) -> None:
    draw(page, prompt="a frog", number=1)
    page.evaluate("document.getElementById('next').click()")
    page.wait_for("document.querySelector('article h2').innerText.includes('seed 1')")

    assert page.complaints == []
    own = f"http://127.0.0.1:{served.port}/"
    asked = {url.removeprefix(own) for url in page.urls if not url.startswith("data:")}
    assert asked == {"", "studio.css", "studio.js", "api/models", "api/draw"}


def test_a_refusal_is_told_and_the_page_goes_on(page: Page) -> None:
    draw(page, prompt="a frog", negative="pink", guidance=1)
    page.wait_for("document.getElementById('problem').textContent")

    assert "no stage has guidance" in text_of(page, "#problem")
    draw(page, prompt="a frog", negative="", guidance="")
    page.wait_for("document.querySelector('article')")
    assert page.evaluate("document.getElementById('problem').textContent") == ""


def test_a_prompt_is_text_whatever_is_in_it(page: Page) -> None:
    draw(page, prompt="<img src=x onerror=alert(1)> & a frog", number=1)

    assert text_of(page, "article h2").startswith("<img src=x onerror=alert(1)> & a frog")
    assert page.complaints == []


@pytest.mark.parametrize(("width", "height"), [PHONE, DESKTOP, (320, 568), (820, 1180)])
def test_it_fits_the_width(page: Page, width: int, height: int) -> None:
    page.resize(width, height, is_phone=width < 500)
    draw(page, prompt="a very large red apple " * 20, number=1)

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    fields = "[...document.querySelectorAll('input, select, textarea, button')]"
    assert page.evaluate(f"{fields}.every((one) => one.offsetHeight >= 40)")
