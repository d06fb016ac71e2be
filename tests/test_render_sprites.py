"""The script that made the sprite sheet, where its font and names are installed."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import ImageFont

from minimagen.files import sha256_file
from minimagen.sources.scene_drawing import read_sprite_names
from scripts.render_sprites import FONT, NAMES, STRIKE_PX, Emoji, choose, read_emoji, render, write_sheet

FONT_SHA256 = "e5899ed38b8ed83e08bd3ac5de09791e9d19d288333a796de1d35ad17396f1ec"
"""Of Debian's fonts-noto-color-emoji 2.042-0+deb12u1, with which the committed sheet was made."""

pytestmark = pytest.mark.skipif(
    not NAMES.exists() or not FONT.exists() or sha256_file(FONT) != FONT_SHA256,
    reason="needs the packages fonts-noto-color-emoji 2.042 and unicode-data 15.0",
)


@pytest.fixture(scope="module")
def chosen() -> list[Emoji]:
    return choose(list(read_emoji(NAMES)))


@pytest.fixture(scope="module")
def font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FONT, STRIKE_PX)


def test_the_tables_give_the_names_of_the_committed_sheet(chosen: list[Emoji], checkout: Path) -> None:
    assert tuple(one.name for one in chosen) == read_sprite_names(checkout / "data/assets/sprites.parquet")


def test_rendering_gives_the_committed_bytes(
    chosen: list[Emoji], font: ImageFont.FreeTypeFont, checkout: Path, tmp_path: Path
) -> None:
    write_sheet(chosen[:3], font, tmp_path / "sheet.parquet")

    again = pq.read_table(tmp_path / "sheet.parquet")
    assert again.equals(pq.read_table(checkout / "data/assets/sprites.parquet").slice(0, 3))


def test_an_emoji_that_the_font_lacks_is_named(font: ImageFont.FreeTypeFont) -> None:
    with pytest.raises(ValueError, match="does not draw 'private' as one glyph"):
        render(Emoji("\U0010fffd\U0010fffd", "private", "objects"), font)


def test_a_table_that_names_no_emoji_is_refused(chosen: list[Emoji]) -> None:
    with pytest.raises(ValueError, match="empty nest"):
        choose(chosen[:5])
