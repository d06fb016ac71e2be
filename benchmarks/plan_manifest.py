"""How long it takes, and how much memory, to plan the download of a table of addresses and captions.

    python -m benchmarks.plan_manifest

Each table is planned by a process of its own. JSON is one document and is read whole; all others are read row by row.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.tables import Cell, Report, describe_machine, show

FORMATS = ("jsonl", "csv", "tsv", "parquet", "json")
ROWS = (1_000, 10_000, 100_000, 1_000_000)
NUM_HOSTS = 5000


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS)
    parser.add_argument("--captions", type=int, default=1, help="rows for each address, far from each other")
    parser.add_argument("--json", type=Path, help="write the table there as well")
    options = parser.parse_args(arguments)
    machine = describe_machine()
    rows = [row for name in options.formats for row in measure(name, options.rows, options.captions)]
    notes = ("first: planned for the first time; again: a new snapshot of the table after one row was added",)
    show(Report(f"planning a table, {options.captions} rows for each address", rows, notes, machine), options.json)


def measure(suffix: str, numbers: Sequence[int], captions_each: int, filler: str = "") -> Iterator[dict[str, Cell]]:
    """Yields a row of the table for each size.

    Args:
        filler: what stands behind every caption.
    """
    for num_rows in numbers:
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / f"table.{suffix}"
            write_table(table, num_rows, captions_each, filler)
            first = _plan(table, Path(folder) / "out", "s1")
            write_table(table, num_rows + 1, captions_each, filler)
            again = _plan(table, Path(folder) / "out", "s2")
        yield {
            "format": suffix,
            "rows": num_rows,
            "s": round(first["total_s"], 2),
            "cpu-s": round(first["cpu_s"], 2),
            "us/row": round(1e6 * first["total_s"] / num_rows, 1),
            "peak MiB": round(first["peak_mib"]),
            "again s": round(again["total_s"], 2),
            "again MiB": round(again["peak_mib"]),
        }


def write_table(path: Path, num_rows: int, captions_each: int = 1, filler: str = "") -> None:
    """Writes a table with columns "url" and "caption"; the first rows of a longer one are those of a shorter one."""
    rows = ({"url": url, "caption": caption} for url, caption in pairs(num_rows, captions_each, filler))
    if path.suffix == ".parquet":
        schema = pa.schema([("url", pa.string()), ("caption", pa.string())])
        with pq.ParquetWriter(path, schema) as writer:
            while batch := list(islice(rows, 50_000)):
                writer.write_table(pa.Table.from_pylist(batch, schema))
        return
    with path.open("w", encoding="utf-8", newline="") as stream:
        if path.suffix == ".json":
            stream.write("[")
            stream.writelines((", " if index else "") + json.dumps(row) for index, row in enumerate(rows))
            stream.write("]")
        elif path.suffix == ".jsonl":
            stream.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            delimiter = "," if path.suffix == ".csv" else "\t"
            writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
            writer.writerow(("url", "caption"))
            writer.writerows(pairs(num_rows, captions_each, filler))


def pairs(num_rows: int, captions_each: int, filler: str = "") -> Iterator[tuple[str, str]]:
    """Yields addresses and captions of usual length; an address comes back after a ten-thousandth."""
    for number in range(num_rows):
        block, place = divmod(number, 10_000 * captions_each)
        picture = block * 10_000 + place % 10_000
        host = picture % NUM_HOSTS
        yield (
            f"https://host{host}.example.com/2026/{picture}/photo-{picture}.jpg?w=640",
            f"a photo of thing {number} .{filler}",
        )


def _plan(table: Path, folder: Path, snapshot: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.plan_ours", str(table), str(folder), snapshot]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


if __name__ == "__main__":
    main()
