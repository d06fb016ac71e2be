"""A user's own table of addresses and captions as a source: any JSON, JSONL, CSV, TSV or Parquet.

Reads the table and asks nothing; pictures are fetched by ``remote``.

A row's key is a hash of its address alone. So it stays the same when rows are appended, reordered or captioned anew,
and each picture is fetched once. Rows of the same address become one row with all their captions; the second and
later ones are recorded as duplicate_url. A later snapshot lists the addresses that no earlier one had.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from minimagen.config import ConfigError, ManifestConfig
from minimagen.errors import UserError
from minimagen.files import canonical_json, sha256_file
from minimagen.rows import Rejection
from minimagen.shards import ShardJob
from minimagen.sources.candidates import Candidate, KnownKeys, find_plan, jobs_of, newest_plan, write_plan
from minimagen.sources.gathered_rows import GatheredRow, gather
from minimagen.sources.services import table_of
from minimagen.sources.tombstones import honour_tombstones, read_tombstones
from minimagen.sources.url_tables import UrlTable, read_url_table

SOURCE = "manifest"


def plan(config: ManifestConfig, *, reads: Path, snapshot: str, folder: Path, state: Path) -> list[ShardJob]:
    """Returns the jobs that fetch the pictures of a table, those of earlier snapshots first.

    Args:
        reads: the table, or a folder with it and ``hosts.yaml``, which says how its hosts may be asked.
        state: where rows are gathered meanwhile.

    Raises:
        ConfigError: the table is missing, lacks a column or cannot be understood.
        UserError: the table is not the one that this snapshot was listed from.
    """
    table, dump = table_of(reads), config.model_dump(mode="json")
    if not table.is_file():
        raise ConfigError(f"{table}: no such file (sources.{SOURCE} in params.yaml)")
    digest = sha256_file(table)
    listed = find_plan(folder, snapshot, dump)
    if listed is None:
        wanted = UrlTable(table, config.url_column, config.caption_column, config.split)
        after = newest_plan(folder, dump)
        with gather(read_url_table(wanted), state / "listing.sqlite") as rows:
            candidates = _candidates(rows, KnownKeys(folder, after), config)
            listed = write_plan(
                folder,
                snapshot,
                dump,
                honour_tombstones(candidates, read_tombstones(folder)),
                shard_rows=config.shard_rows,
                after=after,
                watermark={"table_sha256": digest},
            )
    elif listed.watermark["table_sha256"] != digest:
        raise UserError(
            f"{table} has changed since the snapshot {snapshot!r} listed it: "
            "a new ingest.snapshot in params.yaml adds what is new"
        )
    return jobs_of(folder, listed, SOURCE, reads)


def _candidates(rows: Iterable[GatheredRow], known: KnownKeys, config: ManifestConfig) -> Iterator[Candidate]:
    extras = {"": "{}"}
    for gathered in rows:
        first_key = f"{SOURCE}:{gathered.identity:016x}"
        key = first_key if gathered.occurrence == 1 else f"{first_key}#{gathered.occurrence}"
        if key not in known:
            row, rejection = gathered.row, _rejection_of(gathered, first_key, known)
            if row.part not in extras:
                extras[row.part] = canonical_json({"split": row.part})
            yield Candidate(
                key=key,
                url=row.url,
                captions=row.captions,
                page_url="",
                license=config.license,
                adult=False,
                lang=config.lang,
                extra=extras[row.part],
                reason="" if rejection is None else rejection.reason,
                detail="" if rejection is None else f"{row.where}: {rejection.detail}",
            )


def _rejection_of(gathered: GatheredRow, first_key: str, known: KnownKeys) -> Rejection | None:
    if gathered.row.rejection is not None or gathered.occurrence == 1:
        return gathered.row.rejection
    whose = "listed before, and its captions stay as they were" if first_key in known else "which has its captions too"
    return Rejection("duplicate_url", f"the address of {first_key}, {whose}")
