"""What came of a grid of experiments, as a table: for programs and for eyes.

Runs nothing and measures nothing.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from minimagen.evaluation.curves import Line
from minimagen.evaluation.pairs import Pairs


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
    pairs: Pairs | None = None
    """Training captions with their pictures; None where the evaluation drew none."""
    curves: Mapping[str, Line] = field(default_factory=dict)
    """U-Net -> held-out loss while it was trained."""


def csv_text(rows: Sequence[Row]) -> str:
    """Returns the table for programs: numbers whole, lists as JSON."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["experiment", *rows[0].values, *metric_names(rows), "cascade"])
    for row in rows:
        metrics = [row.metrics.get(name, "") for name in metric_names(rows)]
        writer.writerow([row.name, *map(value_text, row.values.values()), *metrics, row.cascade])
    return stream.getvalue()


def page(rows: Sequence[Row]) -> str:
    """Returns the table for eyes, as Markdown; the best value of each column is bold."""
    names = metric_names(rows)
    best = {name: best_of(name, rows) for name in names}
    lines = [f"# {len(rows)} experiments", "", f"| {' | '.join([*rows[0].values, *names])} |"]
    lines += [f"|{'---|' * (len(rows[0].values) + len(names))}"]
    for row in rows:
        cells = [value_text(value) for value in row.values.values()]
        cells += [_cell(row.metrics.get(name), best[name]) for name in names]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Each is a DVC experiment (`dvc exp show`) and a run in MLflow (`make ui`).", ""]
    return "\n".join(lines)


def title_of(row: Row) -> str:
    """Returns an experiment's values in words."""
    return ", ".join(f"{key} {value_text(value)}" for key, value in row.values.items())


def metric_names(rows: Sequence[Row]) -> list[str]:
    """Returns the metrics that at least one experiment has, in order."""
    return list(dict.fromkeys(name for row in rows for name in row.metrics))


def best_of(name: str, rows: Sequence[Row]) -> float:
    """Returns the best value of a metric: the lowest loss, the highest of anything else."""
    values = [row.metrics[name] for row in rows if name in row.metrics]
    return min(values) if name.endswith(".loss") else max(values)


def _cell(value: float | None, best: float) -> str:
    if value is None:
        return ""
    return f"**{value:.4g}**" if value == best else f"{value:.4g}"


def value_text(value: JsonValue) -> str:
    """Returns a parameter's value as it is shown."""
    return value if isinstance(value, str) else json.dumps(value)
