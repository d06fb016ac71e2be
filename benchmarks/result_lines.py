"""Results as lines of a file, for benchmarks that take hours: each is there as soon as it is known.

Knows no benchmark.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the results so far; a line that an interruption cut short is left out."""
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def append_line(path: Path, result: Mapping[str, Any]) -> None:
    """Adds a result; the folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(result) + "\n")
