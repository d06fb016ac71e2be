"""Purge: what a source of the network was asked for too long ago is deleted for good, and stays away.

Whole snapshots at a time, since all rows of one are of the same moment: their shards, lists and failures keep their
names and lose their rows, and tombstones (hashes of keys) keep later listings from bringing them back. Knows no source.

An interrupted purge is finished by the next one; until then no plan of the source is made or run.
"""

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from minimagen.errors import UserError
from minimagen.manifest import counts_of, read_manifest, write_manifest
from minimagen.rows import snapshot_instant
from minimagen.shards import (
    count_rows,
    failures_path,
    read_report,
    read_shard_file,
    read_table,
    record_path,
    shard_path,
    write_shard,
)
from minimagen.sources.candidates import Plan, candidates_path, clear_plan, jobs_of, read_plan
from minimagen.sources.spool import remove_spool, spool_path
from minimagen.sources.tombstones import Tombstones, read_graves, with_keys, write_graves
from minimagen.stages.run_lock import run_lock, stage_lock
from minimagen.stages.source_plans import OUT, STATE

_REASON = "too_old"
_UNITS = {"d": 1, "w": 7}


@dataclass(frozen=True, slots=True)
class Purged:
    """What was deleted from one snapshot."""

    snapshot: str
    num_shards: int
    num_pictures: int
    num_keys: int


def run_purge(source: str, older_than: str, *, today: date, root: Path = Path()) -> None:
    """Deletes what a source asked for before a day, and says what is left to do.

    Args:
        older_than: days ("180d"), weeks ("26w") before ``today``, or a date.

    Raises:
        UserError: ``older_than`` is none of these, or the source has no rows, or none that carry their date.
        BusyError: the source is being read or purged.
    """
    before, out, state = parse_age(older_than, today), root / OUT / source, root / STATE / source
    known = sorted(path.name for path in (root / OUT).iterdir() if path.is_dir()) if (root / OUT).is_dir() else []
    if source not in known:
        raise UserError(f"--source: {root / OUT} has no {source!r}; it has {', '.join(known) or 'nothing'}")
    with run_lock(stage_lock(root, "ingest", source)):
        purged = purge(out, before, state=state)
    for one in purged:
        print(
            f"purge: {out}: snapshot {one.snapshot}: {one.num_pictures} pictures deleted from {one.num_shards} shards, "
            f"{one.num_keys} keys will not be asked for again"
        )
    for snapshot in _undated(out):
        print(f"purge: {out}: snapshot {snapshot} is no date: its rows stay, and their age is unknown")
    if not purged:
        print(f"purge: {out}: nothing in it is older than {before}")
    print(_WHAT_NEXT)


_WHAT_NEXT = """\
purge: DVC still has the old versions. Bring what follows from the new one up to date, then delete the old ones:
  dvc repro
  dvc gc --workspace            # this machine's cache: keeps only what dvc.lock names now
  dvc gc --workspace --cloud    # the remote as well
purge: versions of other branches and tags go too, unless they are named (--all-branches, --all-tags): those that hold
  purged rows should not be. Other machines, exported folders and models trained on the rows are yours to look after."""


def parse_age(older_than: str, today: date) -> date:
    """Returns the day before which rows are too old.

    Raises:
        UserError: the text is neither days, weeks nor a date.
    """
    match = re.fullmatch(r"([0-9]{1,5})([dw])", older_than)
    try:
        if match is None:
            return date.fromisoformat(older_than)
        return today - timedelta(days=int(match[1]) * _UNITS[match[2]])
    except ValueError as error:
        raise UserError(f"--older-than: {older_than!r}, expected like 180d, 26w or 2026-05-31") from error


def purge(folder: Path, before: date, *, state: Path) -> list[Purged]:
    """Deletes the rows of the snapshots before a day from ``data/raw/<source>``; again changes nothing.

    Args:
        state: ``runs/ingest/<source>``, which may hold what was answered and not stored yet.

    Raises:
        UserError: a list is gone or damaged while its rows are there.
    """
    graves = read_graves(folder)
    if graves.unfinished is not None:
        before = max(before, date.fromisoformat(graves.unfinished))
    _remove_leftovers(folder, before)
    snapshots = [snapshot for snapshot in _snapshots(folder) if _is_old(snapshot, before)]
    plans = [_plan_of(folder, snapshot) for snapshot in snapshots]
    if graves.unfinished is None:
        plans = [plan for plan in plans if any(file.rows for file in plan.files)]
        if not plans:
            return []
    purged: list[Purged] = []
    for plan in plans:
        known = Tombstones(graves)
        keys = {key for key in _keys_of(folder, plan) if key not in known}
        num_pictures = sum(_num_rows(shard_path(folder, file.name)) for file in plan.files)
        purged.append(Purged(plan.snapshot, len(plan.files), num_pictures, len(keys)))
        graves = with_keys(graves, plan.snapshot, _REASON, keys)
    write_graves(folder, replace(graves, unfinished=before.isoformat()))
    _empty(folder, plans, state)
    if (folder / "manifest.json").exists():
        _rewrite_manifest(folder)
    write_graves(folder, replace(graves, unfinished=None))
    return purged


def _empty(folder: Path, plans: Sequence[Plan], state: Path) -> None:
    """Empties the lists, then the shards, whose records name the emptied lists."""
    cleared = [clear_plan(folder, plan.snapshot) for plan in plans]
    for plan in cleared:
        assert plan is not None, "the plans were read before"
        own = {file.name for file in plan.files}
        for job in jobs_of(folder, plan, folder.name, reads=Path()):
            if job.name in own:
                write_shard(folder, job, [], [])
                remove_spool(spool_path(state, job.name))
    shutil.rmtree(state / "listing", ignore_errors=True)


def _rewrite_manifest(folder: Path) -> None:
    manifest = read_manifest(folder)
    names = [Path(shard.file).stem for shard in manifest.shards]
    counts = counts_of([read_report(folder, name) for name in names])
    shards = tuple(read_shard_file(folder, name) for name in names)
    write_manifest(folder, replace(manifest, counts=counts, shards=shards))


def _keys_of(folder: Path, plan: Plan) -> Iterator[str]:
    """Yields every key of a snapshot, from its lists and from what became of them."""
    for file in plan.files:
        for path in (candidates_path, shard_path, failures_path):
            if path(folder, file.name).exists():
                yield from read_table(path(folder, file.name), ["key"]).column("key").to_pylist()


def _plan_of(folder: Path, snapshot: str) -> Plan:
    plan = read_plan(folder, snapshot)
    if plan is None:
        raise UserError(
            f"{folder / 'plan'}: the list of snapshot {snapshot} is gone or damaged, but its rows are there: "
            f"bring it back (dvc checkout {folder}), or delete {folder}"
        )
    return plan


def _snapshots(folder: Path) -> list[str]:
    """Returns the snapshots that have rows or a list, by the names of their files.

    Raises:
        UserError: the source is not one that lists.
    """
    shards = {path.stem.rpartition("-")[0] for path in (folder / "shards").glob("*.parquet")}
    lists = {path.stem for path in (folder / "plan").glob("*.json")}
    if shards and not (folder / "plan").is_dir():
        raise UserError(f"{folder}: is read from files of yours: delete the pictures there, and run the ingest again")
    return sorted(shards | lists)


def _undated(folder: Path) -> list[str]:
    return [snapshot for snapshot in _snapshots(folder) if snapshot_instant(snapshot) is None]


def _is_old(snapshot: str, before: date) -> bool:
    instant = snapshot_instant(snapshot)
    return instant is not None and instant < datetime.combine(before, time(), tzinfo=UTC)


def _remove_leftovers(folder: Path, before: date) -> None:
    """Deletes what a killed process left: half-written files, and files of an old list that never was finished."""
    for path in folder.rglob("*.tmp-*"):
        path.unlink()
    for path in (folder / "plan").glob("*.parquet"):
        snapshot = path.stem.rpartition("-")[0]
        has_rows = shard_path(folder, path.stem).exists() or record_path(folder, path.stem).exists()
        if _is_old(snapshot, before) and not has_rows and not (folder / "plan" / f"{snapshot}.json").exists():
            path.unlink()


def _num_rows(path: Path) -> int:
    return count_rows(path) if path.exists() else 0
