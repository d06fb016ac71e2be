"""What came of a grid of experiments, as curves: final losses over what was compared, and losses while training.

Runs nothing and measures nothing.
"""

from collections.abc import Sequence
from html import escape

from pydantic import JsonValue

from flows.comparison import Row, metric_names, title_of, value_text
from minimagen.evaluation.curves import HEIGHT_PX, WIDTH_PX, Line, draw_lines

COLORS = ("#1f5fa8", "#c2571a", "#2e7d4f", "#8a3f9c", "#a8323e", "#5f6b1f", "#3b3b3b", "#128a9a")
LENGTHS = ("num_steps", "num_epochs")
_LEGEND_PX, _TITLE_PX = 18, 22
_STYLE = (
    "text{font:12px sans-serif;fill:#333}.grid{stroke:#ddd;fill:none}.axis{stroke:#333;fill:none}"
    "[class^=line]{fill:none;stroke-width:2}"
)


def figure(rows: Sequence[Row]) -> str | None:
    """Returns an SVG with a panel for each U-Net's loss: over the length of training, or the first number compared."""
    axis = _axis(rows)
    losses = [name for name in metric_names(rows) if name.endswith(".loss")]
    if axis is None or not losses:
        return None
    return _panels({f"{name} over {axis}": _lines(rows, axis, name) for name in losses})


def training_curves(rows: Sequence[Row]) -> str | None:
    """Returns an SVG with a panel for each U-Net: held-out loss over optimiser steps, a line for each experiment."""
    panels: dict[str, list[Line]] = {}
    for row in rows:
        for unet, line in row.curves.items():
            panels.setdefault(f"{unet}: held-out loss over steps", []).append(
                Line(title_of(row), line.steps, line.values)
            )
    return _panels(panels) if panels else None


def _panels(panels: dict[str, list[Line]]) -> str:
    drawn: list[str] = []
    num_lines, top = max(map(len, panels.values())), 0
    for name, lines in panels.items():
        inner = draw_lines(lines).replace("<svg ", f'<svg y="{_TITLE_PX}" width="{WIDTH_PX}" height="{HEIGHT_PX}" ', 1)
        title = f'<text x="8" y="15">{escape(name)}</text>'
        legend = [
            f'<text class="name-{index}" x="46" y="{_TITLE_PX + HEIGHT_PX + _LEGEND_PX * index + 12}">'
            f"{escape(line.label)}</text>"
            for index, line in enumerate(lines)
        ]
        drawn.append(f'<g transform="translate(0 {top})">{title}{inner}{"".join(legend)}</g>')
        top += HEIGHT_PX + _TITLE_PX + _LEGEND_PX * len(lines)
    size = f'viewBox="0 0 {WIDTH_PX} {top}" width="{WIDTH_PX}" height="{top}"'
    ground = f'<rect width="{WIDTH_PX}" height="{top}" fill="white"/>'
    style = _STYLE + "".join(map(_line_style, range(num_lines)))
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style>{ground}{"".join(drawn)}</svg>\n'


def _axis(rows: Sequence[Row]) -> str | None:
    numeric = [key for key in rows[0].values if all(_is_number(row.values[key]) for row in rows)]
    lengths = [key for key in numeric if key.rpartition(".")[2] in LENGTHS]
    return next(iter(lengths + numeric), None)


def _lines(rows: Sequence[Row], axis: str, metric: str) -> list[Line]:
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        label = ", ".join(f"{key} {value_text(value)}" for key, value in row.values.items() if key != axis) or "loss"
        if metric in row.metrics:
            points.setdefault(label, []).append((float(str(row.values[axis])), row.metrics[metric]))
    sorted_points = {label: sorted(line) for label, line in points.items()}
    return [Line(label, *(tuple(part) for part in zip(*line, strict=True))) for label, line in sorted_points.items()]


def _line_style(index: int) -> str:
    """Returns a colour of a line and its name; when the colours begin again, lines are dashed."""
    color, turn = COLORS[index % len(COLORS)], index // len(COLORS)
    dashes = f";stroke-dasharray:{2 + 4 * turn} 3" if turn else ""
    return f".line-{index}{{stroke:{color}{dashes}}}.name-{index}{{fill:{color}}}"


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
