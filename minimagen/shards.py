"""Shards: immutable Parquet files of captioned pictures, each with a record that says it is complete.

Knows no source, no image format and no split rule: bytes pass through. A shard is a pure function of its rows, so no
clock, host or run is in it. ``datasets``, pandas and pyarrow open the files as they are.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from minimagen.arrow_tables import columns_of, table_of
from minimagen.errors import UserError
from minimagen.files import canonical_json, replacing, sha256_bytes, sha256_file, write_json
from minimagen.rows import FAILURE_SCHEMA, ROW_SCHEMA, Failure, Row

FORMAT_VERSION = 1
ROW_GROUP_ROWS = 128


@dataclass(frozen=True, slots=True)
class ShardJob:
    """The work that makes one shard.

    ``spec`` is a JSON object with all it needs. Its key "reads" says where this machine keeps the source; all others
    are what the shard depends on: where they are equal, so are the shards.
    """

    source: str
    name: str
    """"<snapshot>-<plan index with five digits>"."""
    spec: str


@dataclass(frozen=True, slots=True)
class ShardReport:
    """Outcomes of one shard: rows requested = stored + sum(rejected) + pending."""

    name: str
    stored: int
    rejected: dict[str, int]
    pending: int
    was_done: bool


@dataclass(frozen=True, slots=True)
class ShardFile:
    """One shard as a manifest lists it; ``file`` is relative to the manifest."""

    file: str
    rows: int
    bytes: int
    sha256: str


def shard_path(folder: Path, name: str) -> Path:
    """Returns where the shard ``name`` of ``folder`` stands."""
    return folder / "shards" / f"{name}.parquet"


def failures_path(folder: Path, name: str) -> Path:
    """Returns where the rejected rows of the shard ``name`` stand."""
    return folder / "failures" / f"{name}.parquet"


def record_path(folder: Path, name: str) -> Path:
    """Returns where the completion record of the shard ``name`` stands."""
    return folder / "shards" / f"{name}.json"


def write_table(path: Path, table: pa.Table) -> ShardFile:
    """Writes a table of the row or curated schema, atomically; equal tables give equal bytes.

    Image bytes are stored as they are, everything else zstd, in row groups of 128 with page checksums.
    """
    return _write_tables(path, table.schema, [table])


def _write_tables(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> ShardFile:
    """Writes tables one after the other, each of whole row groups but the last, as the one table they make up."""
    columns = [name for name in _leaf_columns(schema) if name != "image.bytes"]
    num_rows = 0
    with (
        replacing(path) as stream,
        pq.ParquetWriter(
            stream,
            schema,
            compression={"image.bytes": "none"} | dict.fromkeys(columns, "zstd"),  # pyright: ignore[reportArgumentType]
            use_dictionary=columns,  # pyright: ignore[reportArgumentType]
            write_statistics=columns,  # pyright: ignore[reportArgumentType]
            write_page_checksum=True,
        ) as writer,
    ):
        for table in tables:
            writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
            num_rows += table.num_rows
    return ShardFile(f"{path.parent.name}/{path.name}", num_rows, path.stat().st_size, sha256_file(path))


def write_failures(path: Path, failures: Sequence[Failure]) -> str:
    """Writes the rejected rows of one shard, atomically, and returns the SHA-256 of the file."""
    return write_table(path, table_of(FAILURE_SCHEMA, columns_of(failures, FAILURE_SCHEMA.names))).sha256


def write_shard(
    folder: Path, job: ShardJob, rows: Iterable[Row], failures: Sequence[Failure], *, pending: int = 0
) -> ShardReport:
    """Writes a shard, its failures and, last, its completion record.

    Args:
        rows: as they come; a row group of them is in memory at a time.
        pending: rows that got no outcome yet (a host was down); such a shard is not done and will run again.
    """
    keys = [failure.key for failure in failures]
    shard = _write_tables(shard_path(folder, job.name), ROW_SCHEMA, _tables_of(rows, keys))
    assert len(set(keys)) == len(keys), f"{job.source} shard {job.name}: a key has two outcomes"
    rejected = dict(sorted(Counter(failure.reason for failure in failures).items()))
    record = {
        "version": FORMAT_VERSION,
        "spec_sha256": _spec_sha256(job),
        "shard": asdict(shard),
        "failures_sha256": write_failures(failures_path(folder, job.name), failures),
        "rejected": rejected,
        "pending": pending,
    }
    write_json(record_path(folder, job.name), record | {"record_sha256": _hash_of(record)})
    return ShardReport(job.name, shard.rows, rejected, pending, was_done=False)


def find_report(folder: Path, job: ShardJob) -> ShardReport | None:
    """Returns the outcomes of a shard that is done, None if it has to run.

    Done means: no row is pending, and record, spec, shard and failures agree by SHA-256.
    """
    try:
        record = _read_record(folder, job.name)
        expected = {
            "version": FORMAT_VERSION,
            "spec_sha256": _spec_sha256(job),
            "failures_sha256": sha256_file(failures_path(folder, job.name)),
            "pending": 0,
        }
        if any(record[key] != value for key, value in expected.items()):
            return None
        if record["shard"]["sha256"] != sha256_file(shard_path(folder, job.name)):
            return None
        return ShardReport(job.name, record["shard"]["rows"], record["rejected"], pending=0, was_done=True)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # absent, damaged or of another version: the shard is made again


def read_report(folder: Path, name: str) -> ShardReport:
    """Returns the outcomes that a completion record tells of, whatever became of the files since."""
    record = _read_record(folder, name)
    return ShardReport(name, record["shard"]["rows"], record["rejected"], record["pending"], was_done=True)


def read_shard_file(folder: Path, name: str) -> ShardFile:
    """Returns the manifest entry of a complete shard, from its completion record."""
    return ShardFile(**_read_record(folder, name)["shard"])


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Reads a shard, or some of its columns, checking page checksums.

    Raises:
        ValueError: the file is missing or damaged; the message names it.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            return file.read(columns=None if columns is None else list(columns))
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error


def count_rows(path: Path) -> int:
    """Returns the number of rows of a shard, from its footer."""
    return pq.read_metadata(path).num_rows


def iter_images(path: Path) -> Iterator[bytes]:
    """Yields the encoded pictures of a shard in order, one row group in memory at a time.

    Raises:
        ValueError: the file is missing or damaged; the message names it.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for batch in file.iter_batches(batch_size=ROW_GROUP_ROWS, columns=["image"]):
                yield from batch.column("image").field("bytes").to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error


def iter_rows(path: Path) -> Iterator[Row]:
    """Yields the rows of a raw or curated shard in order (without group_id and split)."""
    for record in read_table(path, ROW_SCHEMA.names).to_pylist():
        image = record.pop("image")
        yield Row(**record | {"image_bytes": image["bytes"], "captions": tuple(record["captions"])})


def remove_unplanned(folder: Path, jobs: Sequence[ShardJob], *, keep: Collection[Path] = ()) -> list[Path]:
    """Deletes every file below ``folder`` that the plan does not name, and returns what was deleted.

    Args:
        keep: files of the folder that belong to no shard.
    """
    planned = {folder / "manifest.json", *keep}
    for job in jobs:
        planned |= {path(folder, job.name) for path in (shard_path, failures_path, record_path)}
    unplanned = [path for path in sorted(folder.rglob("*")) if not path.is_dir() and path not in planned]
    for path in unplanned:
        path.unlink()
    return unplanned


def _read_record(folder: Path, name: str) -> dict[str, Any]:
    path = record_path(folder, name)
    record = json.loads(path.read_bytes())
    if record.pop("record_sha256", None) != _hash_of(record):
        raise UserError(f"{path}: the completion record is damaged")
    return record


def _spec_sha256(job: ShardJob) -> str:
    return _hash_of({key: value for key, value in json.loads(job.spec).items() if key != "reads"})


def _hash_of(record: dict[str, Any]) -> str:
    return sha256_bytes(canonical_json(record).encode())


def _tables_of(rows: Iterable[Row], keys: list[str]) -> Iterator[pa.Table]:
    """Yields a table for each row group; at least one, and adds the rows' keys to ``keys``."""
    rest = iter(rows)
    group = list(islice(rest, ROW_GROUP_ROWS))
    while True:
        keys.extend(row.key for row in group)
        yield _table_of(group)
        group = list(islice(rest, ROW_GROUP_ROWS))
        if not group:
            return


def _table_of(rows: Sequence[Row]) -> pa.Table:
    columns = columns_of(rows, [name for name in ROW_SCHEMA.names if name != "image"])
    images = [{"bytes": row.image_bytes, "path": f"{row.sha256[:16]}.{row.format}"} for row in rows]
    return table_of(ROW_SCHEMA, columns | {"image": images})


def _leaf_columns(schema: pa.Schema) -> Iterator[str]:
    for field in schema:
        if pa.types.is_struct(field.type):
            yield from (f"{field.name}.{field.type.field(index).name}" for index in range(field.type.num_fields))
        elif pa.types.is_list(field.type):
            yield f"{field.name}.list.element"
        else:
            yield field.name
