"""Curves as a picture: columns of a CSV file as lines over steps, drawn as inline SVG with a logarithmic value axis.

Knows nothing of training; a line is a label and points.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path

from minimagen.errors import UserError, not_finished

WIDTH_PX, HEIGHT_PX = 520, 240
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 46, 22, 12, 26
MAX_POINTS = 400


@dataclass(frozen=True, slots=True)
class Line:
    """A quantity over optimiser steps; values that are not positive cannot be drawn and are left out."""

    label: str
    steps: tuple[float, ...]
    values: tuple[float, ...]


def read_lines(path: Path, labels: Mapping[str, str]) -> list[Line]:
    """Reads lines from a CSV file with a column "step"; an empty cell is a step at which nothing was measured.

    Args:
        labels: column -> label of the line, in the order in which they are drawn.

    Raises:
        ValueError: the file or a column is missing, or a cell is not a number.
    """
    try:
        with path.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
    except FileNotFoundError as error:
        raise not_finished(path, "the training that writes it") from error
    return [_read_line(path, rows, column, label) for column, label in labels.items()]


def _read_line(path: Path, rows: Sequence[Mapping[str, str]], column: str, label: str) -> Line:
    try:
        points = [(float(row["step"]), float(row[column])) for row in rows if row[column]]
    except KeyError as error:
        raise UserError(f"{path}: no column {error}") from error
    except ValueError as error:
        raise UserError(f"{path}: column {column!r}: {error}") from error
    return Line(label, tuple(step for step, _ in points), tuple(value for _, value in points))


def draw_lines(lines: Sequence[Line]) -> str:
    """Returns an ``<svg>`` element with axes and one path per line; class ``line-<index>`` colours it.

    A line of more than 400 points is drawn by the means of 400 runs of neighbours.

    Raises:
        ValueError: no line has a positive value, so there is nothing to draw.
    """
    drawn = [(line.label, _thinned(_positive(line))) for line in lines]
    points = [point for _, line in drawn for point in line]
    if not points:
        raise ValueError(f"no positive value in the curves {', '.join(line.label for line in lines) or '(none)'}")
    axes = _Axes(max(step for step, _ in points), min(value for _, value in points), max(value for _, value in points))
    paths = [
        f'<path class="line-{index}" d="{axes.path(line)}"><title>{escape(label)}</title></path>'
        for index, (label, line) in enumerate(drawn)
        if line
    ]
    return f'<svg viewBox="0 0 {WIDTH_PX} {HEIGHT_PX}" role="img">{axes.marks()}{"".join(paths)}</svg>'


class _Axes:
    """Maps steps (from 0) and values (logarithmic) to px."""

    def __init__(self, last_step: float, lowest: float, highest: float) -> None:
        self.last_step = max(last_step, 1.0)
        self.low, self.high = math.log10(lowest) - 0.03, math.log10(highest) + 0.03

    def x(self, step: float) -> float:
        return LEFT_PX + step / self.last_step * (WIDTH_PX - LEFT_PX - RIGHT_PX)

    def y(self, value: float) -> float:
        height = (math.log10(value) - self.low) / (self.high - self.low)
        return HEIGHT_PX - BOTTOM_PX - height * (HEIGHT_PX - TOP_PX - BOTTOM_PX)

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        places = [f"{self.x(step):.1f} {self.y(value):.1f}" for step, value in points]
        return "M" + "L".join(places if len(places) > 1 else places * 2)

    def marks(self) -> str:
        bottom, right = HEIGHT_PX - BOTTOM_PX, WIDTH_PX - RIGHT_PX
        rows = [
            f'<path class="grid" d="M{LEFT_PX} {self.y(value):.1f}H{right}"/>'
            f'<text x="{LEFT_PX - 8}" y="{self.y(value) + 4:.1f}" text-anchor="end">{value:g}</text>'
            for value in _value_ticks(self.low, self.high)
        ]
        columns = [
            f'<text x="{self.x(step):.1f}" y="{bottom + 17}" text-anchor="middle">{step:g}</text>'
            for step in _step_ticks(self.last_step)
        ]
        return "".join(rows + columns) + f'<path class="axis" d="M{LEFT_PX} {bottom}H{right}"/>'


def _positive(line: Line) -> list[tuple[float, float]]:
    pairs = zip(line.steps, line.values, strict=True)
    return [(step, value) for step, value in pairs if math.isfinite(value) and value > 0]


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    if len(points) <= MAX_POINTS:
        return points
    edges = [len(points) * index // MAX_POINTS for index in range(MAX_POINTS + 1)]
    runs = [points[start:end] for start, end in pairwise(edges)]
    return [(sum(step for step, _ in run) / len(run), sum(value for _, value in run) / len(run)) for run in runs]


def _value_ticks(low: float, high: float) -> list[float]:
    """Round values between two logarithms, as few of each decade as give three in all."""
    decades = range(math.floor(low), math.ceil(high) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5), tuple(range(1, 10))):
        ticks = [float(f"{factor}e{decade}") for decade in decades for factor in factors]
        inside = [tick for tick in ticks if low <= math.log10(tick) <= high]
        if len(inside) >= 3:
            return inside
    return [float(f"{10 ** (low + (high - low) * share):.2g}") for share in (0.1, 0.5, 0.9)]


def _step_ticks(last_step: float) -> list[float]:
    size = 10.0 ** math.floor(math.log10(last_step))
    spacing = next(size * factor for factor in (0.1, 0.2, 0.5, 1.0, 2.0) if last_step / (size * factor) <= 6)
    return [spacing * index for index in range(int(last_step / spacing) + 1)]
