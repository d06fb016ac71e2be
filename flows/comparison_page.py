"""What came of a grid of experiments, as files: table.csv, table.md, curves, pictures.png and comparison.html with all.

Runs nothing and measures nothing.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from flows.comparison import Row, best_of, csv_text, metric_names, page, title_of, value_text
from flows.comparison_figure import figure, training_curves
from minimagen.evaluation.comparison_page import Cell, ComparisonPage, render_comparison
from minimagen.evaluation.pairs import DRAWN, REAL, Pairs
from minimagen.evaluation.report import png_uri
from minimagen.files import write_atomic
from minimagen.picture_table import picture_table
from minimagen.shapes import PixelImages

CSV_FILE, PAGE_FILE, HTML_FILE = "table.csv", "table.md", "comparison.html"
FIGURE_FILE, CURVES_FILE, PICTURES_FILE = "figure.svg", "curves.svg", "pictures.png"
NUM_CAPTIONS = 6
"""Rows of the sheet of pictures."""


def write_comparison(folder: Path, rows: Sequence[Row]) -> list[Path]:
    """Writes all files and returns their paths; what no experiment has, a metric or pictures, is left out."""
    contents = {CSV_FILE: csv_text(rows).encode(), PAGE_FILE: page(rows).encode(), HTML_FILE: html_page(rows).encode()}
    for name, drawn in ((FIGURE_FILE, figure(rows)), (CURVES_FILE, training_curves(rows))):
        if drawn is not None:
            contents[name] = drawn.encode()
    sheet = _sheet(rows)
    if sheet is not None:
        stream = io.BytesIO()
        sheet.save(stream, "PNG", optimize=True)
        contents[PICTURES_FILE] = stream.getvalue()
    for name, content in contents.items():
        write_atomic(folder / name, content)
    return [folder / name for name in contents]


def html_page(rows: Sequence[Row]) -> str:
    """Returns the comparison as a page of its own."""
    names, columns = metric_names(rows), picture_columns(rows)
    best = {name: best_of(name, rows) for name in names}
    cells = [
        [Cell(value_text(value)) for value in row.values.values()]
        + [_html_cell(row.metrics.get(name), best[name]) for name in names]
        for row in rows
    ]
    sheet = _sheet(rows)
    told = f"{', '.join(columns)}; captions: {'; '.join(_captions(rows))}" if columns else ""
    found = ComparisonPage(
        title=f"{len(rows)} experiments",
        columns=[*rows[0].values, *names],
        rows=cells,
        sheet=None if sheet is None else png_uri(np.asarray(sheet)),
        sheet_text=told,
        figure=figure(rows),
        curves=training_curves(rows),
    )
    return render_comparison(found)


def picture_columns(rows: Sequence[Row]) -> dict[str, PixelImages]:
    """Returns the sheet's columns: the real pictures, then those of each experiment; empty where there are none.

    Only captions that every experiment drew are shown.
    """
    found = [(row, row.pairs) for row in rows if row.pairs is not None]
    if not found:
        return {}
    captions = _captions(rows)
    columns = {"real picture": _pick(found[0][1], REAL, captions)}
    return columns | {title_of(row): _pick(pairs, DRAWN, captions) for row, pairs in found}


def _sheet(rows: Sequence[Row]) -> Image.Image | None:
    columns = picture_columns(rows)
    return picture_table(_captions(rows), columns) if columns else None


def _captions(rows: Sequence[Row]) -> list[str]:
    drawn = [row.pairs.captions for row in rows if row.pairs is not None]
    shared = [caption for caption in drawn[0] if all(caption in others for others in drawn)] if drawn else []
    return list(dict.fromkeys(shared))[:NUM_CAPTIONS]


def _pick(pairs: Pairs, label: str, captions: Sequence[str]) -> PixelImages:
    return pairs.pictures[label][[pairs.captions.index(caption) for caption in captions]]


def _html_cell(value: float | None, best: float) -> Cell:
    return Cell("") if value is None else Cell(f"{value:.4g}", value == best)
