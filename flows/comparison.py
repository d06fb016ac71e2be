"""What came of a grid of experiments, as a table and a figure: table.csv, table.md, figure.svg.

Runs nothing and measures nothing.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from pydantic import JsonValue

from minimagen.evaluation.curves import HEIGHT_PX, WIDTH_PX, Line, draw_lines
from minimagen.files import write_atomic

CSV_FILE, PAGE_FILE, FIGURE_FILE = "table.csv", "table.md", "figure.svg"
COLORS = ("#1f5fa8", "#c2571a", "#2e7d4f", "#8a3f9c", "#a8323e", "#5f6b1f", "#3b3b3b", "#128a9a")
LENGTHS = ("num_steps", "num_epochs")
_LEGEND_PX, _TITLE_PX = 18, 22
_STYLE = (
    "text{font:12px sans-serif;fill:#333}.grid{stroke:#ddd;fill:none}.axis{stroke:#333;fill:none}"
    "[class^=line]{fill:none;stroke-width:2}"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One arm of a comparison with what was measured of it."""

    name: str
    """Also of the DVC experiment."""
    values: Mapping[str, JsonValue]
    metrics: Mapping[str, float]
    """Dotted names; those that rank cascades."""
    cascade: str
    """The hash that MLflow's run of it is tagged with."""


def write_comparison(folder: Path, rows: Sequence[Row]) -> list[Path]:
    """Writes table and figure and returns their paths; without a metric that can be drawn there is no figure."""
    texts = {CSV_FILE: csv_text(rows), PAGE_FILE: page(rows)}
    drawn = figure(rows)
    if drawn is not None:
        texts[FIGURE_FILE] = drawn
    for name, text in texts.items():
        write_atomic(folder / name, text.encode())
    return [folder / name for name in texts]


def csv_text(rows: Sequence[Row]) -> str:
    """Returns the table for programs: numbers whole, lists as JSON."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["experiment", *rows[0].values, *_metric_names(rows), "cascade"])
    for row in rows:
        metrics = [row.metrics.get(name, "") for name in _metric_names(rows)]
        writer.writerow([row.name, *map(_text, row.values.values()), *metrics, row.cascade])
    return stream.getvalue()


def page(rows: Sequence[Row]) -> str:
    """Returns the table for eyes, as Markdown; the best value of each column is bold."""
    names = _metric_names(rows)
    best = {name: _best(name, rows) for name in names}
    lines = [f"# {len(rows)} experiments", "", f"| {' | '.join([*rows[0].values, *names])} |"]
    lines += [f"|{'---|' * (len(rows[0].values) + len(names))}"]
    for row in rows:
        cells = [_text(value) for value in row.values.values()]
        cells += [_cell(row.metrics.get(name), best[name]) for name in names]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Each is a DVC experiment (`dvc exp show`) and a run in MLflow (`make ui`).", ""]
    return "\n".join(lines)


def figure(rows: Sequence[Row]) -> str | None:
    """Returns an SVG with a panel for each U-Net's loss: over the length of training, or the first number compared."""
    axis = _axis(rows)
    losses = [name for name in _metric_names(rows) if name.endswith(".loss")]
    if axis is None or not losses:
        return None
    lines_of = {name: _lines(rows, axis, name) for name in losses}
    num_lines = max(map(len, lines_of.values()))
    panel_px = HEIGHT_PX + _TITLE_PX + _LEGEND_PX * num_lines
    panels: list[str] = []
    for number, (name, lines) in enumerate(lines_of.items()):
        inner = draw_lines(lines).replace("<svg ", f'<svg y="{_TITLE_PX}" width="{WIDTH_PX}" height="{HEIGHT_PX}" ', 1)
        title = f'<text x="8" y="15">{escape(name)} over {escape(axis)}</text>'
        legend = [
            f'<text class="name-{index}" x="46" y="{_TITLE_PX + HEIGHT_PX + _LEGEND_PX * index + 12}">'
            f"{escape(line.label)}</text>"
            for index, line in enumerate(lines)
        ]
        panels.append(f'<g transform="translate(0 {number * panel_px})">{title}{inner}{"".join(legend)}</g>')
    height = len(losses) * panel_px
    size = f'viewBox="0 0 {WIDTH_PX} {height}" width="{WIDTH_PX}" height="{height}"'
    ground = f'<rect width="{WIDTH_PX}" height="{height}" fill="white"/>'
    style = _STYLE + "".join(_line_style(index) for index in range(num_lines))
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style>{ground}{"".join(panels)}</svg>\n'


def _axis(rows: Sequence[Row]) -> str | None:
    numeric = [key for key in rows[0].values if all(_is_number(row.values[key]) for row in rows)]
    lengths = [key for key in numeric if key.rpartition(".")[2] in LENGTHS]
    return next(iter(lengths + numeric), None)


def _lines(rows: Sequence[Row], axis: str, metric: str) -> list[Line]:
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        label = ", ".join(f"{key} {_text(value)}" for key, value in row.values.items() if key != axis) or "loss"
        if metric in row.metrics:
            points.setdefault(label, []).append((float(str(row.values[axis])), row.metrics[metric]))
    sorted_points = {label: sorted(line) for label, line in points.items()}
    return [Line(label, *(tuple(part) for part in zip(*line, strict=True))) for label, line in sorted_points.items()]


def _line_style(index: int) -> str:
    """Returns a colour of a line and its name; when the colours begin again, lines are dashed."""
    color, turn = COLORS[index % len(COLORS)], index // len(COLORS)
    dashes = f";stroke-dasharray:{2 + 4 * turn} 3" if turn else ""
    return f".line-{index}{{stroke:{color}{dashes}}}.name-{index}{{fill:{color}}}"


def _metric_names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.metrics))


def _best(name: str, rows: Sequence[Row]) -> float:
    values = [row.metrics[name] for row in rows if name in row.metrics]
    return min(values) if name.endswith(".loss") else max(values)


def _cell(value: float | None, best: float) -> str:
    if value is None:
        return ""
    return f"**{value:.4g}**" if value == best else f"{value:.4g}"


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value)
