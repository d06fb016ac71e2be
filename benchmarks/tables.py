"""What a benchmark found, as a table on the screen and as JSON: rows, and the machine they were measured on.

Measures nothing but the machine's own matrix rate.
"""

import datetime
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Report:
    """A table with what it takes to read it later."""

    title: str
    rows: Sequence[Mapping[str, Cell]]
    """One mapping a row, all with the same keys: the columns."""
    notes: Sequence[str] = ()
    machine: Mapping[str, Cell] = field(default_factory=lambda: describe_machine())


def describe_machine() -> dict[str, Cell]:
    """Returns date, processor, device and library, and how busy the machine has been for the last minute."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "processor": _processor(),
        "num_cores": os.cpu_count(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 2),
    }


def show(report: Report, path: Path | None = None) -> None:
    """Prints a report, and writes it as JSON where ``path`` says."""
    table = Table(*(report.rows[0] if report.rows else ()), title=report.title)
    for row in report.rows:
        table.add_row(*(_text(cell) for cell in row.values()))
    console = Console(width=None if Console().is_terminal else 160)
    console.print(table)
    for note in report.notes:
        console.print(note, highlight=False)
    console.print(", ".join(f"{name} {value}" for name, value in report.machine.items()), highlight=False)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def _processor() -> str:
    names = Path("/proc/cpuinfo")
    lines = names.read_text(encoding="utf-8").splitlines() if names.exists() else []
    found = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return found or platform.processor() or platform.machine()
