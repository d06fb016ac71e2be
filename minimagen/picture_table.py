"""Pictures as a table, for eyes: a caption for each row, a title for each column; pixels are enlarged as squares.

Knows no tensors and no files: uint8 in, a Pillow picture out.
"""

import textwrap
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

from minimagen.contact_sheet import CHAR_PX, FONT_PX, GAP_PX, INK, LINE_PX, MIN_CELL_PX, PAPER, enlarge
from minimagen.shapes import PixelImages

CAPTION_PX = 168


def picture_table(captions: Sequence[str], columns: Mapping[str, PixelImages]) -> Image.Image:
    """Lays out a row for each caption and a column for each title.

    Args:
        columns: title -> a picture for each caption; sizes may differ between columns.

    Raises:
        ValueError: there is no column, or one has another number of pictures than there are captions.
    """
    if not columns or any(len(pictures) != len(captions) for pictures in columns.values()):
        found = {title: len(pictures) for title, pictures in columns.items()}
        raise ValueError(f"{len(captions)} captions, but columns of {found} pictures")
    largest = max(pictures.shape[1] for pictures in columns.values())
    cell = largest * max(1, -(-MIN_CELL_PX // largest))
    titles = [textwrap.wrap(title, max(8, cell // CHAR_PX)) for title in columns]
    top = GAP_PX + LINE_PX * max(map(len, titles)) + GAP_PX
    width = GAP_PX + CAPTION_PX + len(columns) * (cell + GAP_PX)
    sheet = Image.new("RGB", (width, top + len(captions) * (cell + GAP_PX)), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_PX)
    lefts = [GAP_PX + CAPTION_PX + number * (cell + GAP_PX) for number in range(len(columns))]
    for left, lines in zip(lefts, titles, strict=True):
        draw.multiline_text((left, GAP_PX), "\n".join(lines), fill=INK, font=font, spacing=1)
    for row, caption in enumerate(captions):
        y = top + row * (cell + GAP_PX)
        lines = textwrap.wrap(caption, CAPTION_PX // CHAR_PX - 1)[: cell // LINE_PX]
        draw.multiline_text((GAP_PX, y), "\n".join(lines), fill=INK, font=font, spacing=1)
        for left, pictures in zip(lefts, columns.values(), strict=True):
            sheet.paste(enlarge(pictures[row], cell), (left, y))
    return sheet
