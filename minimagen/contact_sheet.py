"""Pictures with their captions on one sheet, for eyes: pixels are enlarged as squares, never smoothed.

Knows no tensors and no files: uint8 in, a Pillow picture out.
"""

import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from minimagen.shapes import PixelImages

MIN_CELL_PX = 96
GAP_PX = 8
FONT_PX = 11
LINE_PX = 14
CHAR_PX = 6
INK, PAPER = (40, 40, 40), (255, 255, 255)


def contact_sheet(pictures: Sequence[PixelImages], captions: Sequence[str], *, num_columns: int) -> Image.Image:
    """Lays out one cell per caption: its picture from each of ``pictures``, smallest first, side by side.

    Args:
        pictures: one array per stage, each with a picture per caption; cells are as large as the largest stage needs.
        num_columns: cells per row.

    Raises:
        ValueError: a stage has another number of pictures than there are captions.
    """
    if any(len(stage) != len(captions) for stage in pictures):
        raise ValueError(f"{len(captions)} captions, but stages of {[len(stage) for stage in pictures]} pictures")
    largest = max(stage.shape[1] for stage in pictures)
    cell = largest * max(1, -(-MIN_CELL_PX // largest))
    width = cell * len(pictures) + GAP_PX
    wrapped = [textwrap.wrap(caption, max(8, (width - GAP_PX) // CHAR_PX)) for caption in captions]
    height = cell + LINE_PX * max(len(lines) for lines in wrapped) + GAP_PX
    num_columns = min(num_columns, len(captions))
    num_rows = -(-len(captions) // num_columns)
    sheet = Image.new("RGB", (num_columns * width + GAP_PX, num_rows * height + GAP_PX), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_PX)
    for index, lines in enumerate(wrapped):
        row, column = divmod(index, num_columns)
        left, top = GAP_PX + column * width, GAP_PX + row * height
        for number, stage in enumerate(pictures):
            sheet.paste(enlarge(stage[index], cell), (left + number * cell, top))
        draw.multiline_text((left, top + cell + 1), "\n".join(lines), fill=INK, font=font, spacing=1)
    return sheet


def enlarge(pixels: np.ndarray, side: int) -> Image.Image:
    """Returns a picture (uint8 HWC) as a square of ``side`` px."""
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)
