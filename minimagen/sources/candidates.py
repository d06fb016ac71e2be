"""Candidates: what a source has listed, before anything is fetched; one small Parquet file for each shard to come.

Knows no service. A service is asked for its list once a snapshot, and the list is kept: shards are then a function of
the list and of what image hosts serve. A later snapshot lists only what is new, beside the lists of its parents.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from minimagen.errors import UserError
from minimagen.files import canonical_json, sha256_bytes, sha256_file, write_json
from minimagen.shards import ShardJob, read_table, write_table
from minimagen.sources.captions import CLEANER_VERSION

FORMAT_VERSION = 1
CANDIDATE_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("url", pa.string()),
        ("captions", pa.list_(pa.string())),
        ("page_url", pa.string()),
        ("license", pa.string()),
        ("adult", pa.bool_()),
        ("lang", pa.string()),
        ("extra", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One picture that a source knows of."""

    key: str
    """Unique name, source first: "tmdb:550", "cc3m:00001234"; the same in every snapshot."""
    url: str
    captions: tuple[str, ...]
    """As the source has them, not cleaned."""
    page_url: str
    license: str
    adult: bool
    lang: str
    extra: str = "{}"
    """Canonical JSON object with what only this source knows."""
    reason: str = ""
    """Why it is not even asked for ("adult", "no_poster"); empty for one that is."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CandidateFile:
    """One file of a plan."""

    name: str
    """Of the shard to come: "<snapshot>-<plan index with five digits>"."""
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What one snapshot lists that its parents did not."""

    snapshot: str
    config: Mapping[str, object]
    """Parameters of the source that shaped the list."""
    parents: tuple[str, ...]
    """Earlier snapshots, oldest first."""
    files: tuple[CandidateFile, ...]
    watermark: Mapping[str, object]
    """How far the source had been read, in its own words: where the next snapshot goes on."""


def find_plan(folder: Path, snapshot: str, config: Mapping[str, object]) -> Plan | None:
    """Returns the plan of a snapshot, None if it has to be made: absent, damaged, or of other parameters."""
    plan = read_plan(folder, snapshot)
    if plan is None or dict(plan.config) != dict(config):
        return None
    is_whole = all(_hash_or_none(candidates_path(folder, file.name)) == file.sha256 for file in plan.files)
    return plan if is_whole else None


def clear_plan(folder: Path, snapshot: str) -> Plan | None:
    """Empties the files of a snapshot, which keep their names, and says so in its record last.

    Can be repeated if it was interrupted; returns the plan as it stands then, None if there is none, or a damaged one.
    """
    plan = read_plan(folder, snapshot)
    if plan is None:
        return None
    empty = CANDIDATE_SCHEMA.empty_table()
    files = [
        CandidateFile(file.name, 0, write_table(candidates_path(folder, file.name), empty).sha256)
        for file in plan.files
    ]
    plan = replace(plan, files=tuple(files))
    _write_record(folder, plan)
    return plan


def read_plan(folder: Path, snapshot: str) -> Plan | None:
    """Returns what the record says, whether the files are those that it names or not."""
    try:
        record = json.loads(_record_path(folder, snapshot).read_bytes())
        if record.pop("record_sha256") != _hash_of(record) or record.pop("version") != FORMAT_VERSION:
            return None
        files = tuple(CandidateFile(**entry) for entry in record.pop("files"))
        return Plan(**record | {"parents": tuple(record["parents"]), "files": files})
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None


def newest_plan(folder: Path, config: Mapping[str, object]) -> Plan | None:
    """Returns the plan that a new snapshot goes on from: the one with the most parents."""
    snapshots = [path.stem for path in (folder / "plan").glob("*.json")]
    plans = [plan for snapshot in sorted(snapshots) if (plan := find_plan(folder, snapshot, config)) is not None]
    return max(plans, key=lambda plan: len(plan.parents), default=None)


def write_plan(
    folder: Path,
    snapshot: str,
    config: Mapping[str, object],
    candidates: Iterable[Candidate],
    *,
    shard_rows: int,
    after: Plan | None,
    watermark: Mapping[str, object],
) -> Plan:
    """Writes the candidates of a snapshot as they come, and the record last: without it there is no plan.

    Args:
        candidates: in the order of the rows to come, each key once. One file of them is in memory at a time.
        after: the plan that this one goes on from.

    Raises:
        UserError: two candidates have one key, or one has a key that ``after`` or its parents list.
    """
    files: list[CandidateFile] = []
    config = json.loads(canonical_json(config))
    for index, batch in enumerate(_batches(candidates, shard_rows)):
        name = f"{snapshot}-{index:05d}"
        columns = {field: [getattr(candidate, field) for candidate in batch] for field in CANDIDATE_SCHEMA.names}
        table = pa.Table.from_pydict(columns, CANDIDATE_SCHEMA)
        files.append(CandidateFile(name, len(batch), write_table(candidates_path(folder, name), table).sha256))
    parents = () if after is None else (*after.parents, after.snapshot)
    plan = Plan(snapshot, config, parents, tuple(files), watermark)
    _refuse_repeated_keys(folder, [*([] if after is None else chain_of(folder, after)), plan])
    _write_record(folder, plan)
    return plan


def chain_of(folder: Path, plan: Plan) -> list[Plan]:
    """Returns the plan's parents, oldest first, and the plan itself.

    Raises:
        UserError: a parent is gone or damaged.
    """
    chain: list[Plan] = []
    for snapshot in plan.parents:
        parent = find_plan(folder, snapshot, plan.config)
        if parent is None:
            raise UserError(
                f"{_record_path(folder, snapshot)}: gone or damaged, and snapshot {plan.snapshot} goes on from it: "
                f"bring it back, or delete {folder} to start afresh"
            )
        chain.append(parent)
    return [*chain, plan]


def jobs_of(folder: Path, plan: Plan, source: str, reads: Path) -> list[ShardJob]:
    """Returns a job for each file of candidates, those of the plan's parents first.

    Args:
        reads: what the source reads on this machine: no part of what a shard depends on.
    """
    return [
        ShardJob(
            source,
            file.name,
            canonical_json(
                {
                    "reads": str(reads),
                    "config": plan.config,
                    "snapshot": one.snapshot,
                    "candidates": {"name": file.name, "sha256": file.sha256},
                    "cleaner_version": CLEANER_VERSION,
                }
            ),
        )
        for one in chain_of(folder, plan)
        for file in one.files
    ]


def plan_paths(folder: Path, plan: Plan) -> list[Path]:
    """Returns every file that a plan and its parents consist of."""
    chain = chain_of(folder, plan)
    return [_record_path(folder, one.snapshot) for one in chain] + [
        candidates_path(folder, file.name) for one in chain for file in one.files
    ]


def candidates_path(folder: Path, name: str) -> Path:
    """Returns where the candidates of the shard ``name`` stand."""
    return folder / "plan" / f"{name}.parquet"


def iter_candidates(path: Path) -> Iterator[Candidate]:
    """Yields the candidates of one file, in order."""
    names = [field.name for field in fields(Candidate)]
    columns = [column.to_pylist() for column in read_table(path, names).select(names).columns]
    columns[names.index("captions")] = list(map(tuple, columns[names.index("captions")]))
    yield from map(Candidate, *columns)


class KnownKeys:
    """The keys that a plan and its parents list: eight bytes each, whatever their length."""

    def __init__(self, folder: Path, plan: Plan | None) -> None:
        self._hashes = _key_hashes(folder, [] if plan is None else chain_of(folder, plan))

    def __contains__(self, key: str) -> bool:
        if not len(self._hashes):
            return False
        wanted = np.uint64(_short_hash(key))
        index = int(np.searchsorted(self._hashes, wanted))
        return index < len(self._hashes) and bool(self._hashes[index] == wanted)

    def __len__(self) -> int:
        return len(self._hashes)


def _refuse_repeated_keys(folder: Path, chain: Sequence[Plan]) -> None:
    hashes = _key_hashes(folder, chain)
    repeated = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    seen: dict[str, str] = {}
    for name, key in _keys(folder, chain) if repeated else ():
        if key in seen:
            raise UserError(f"{folder}: the key {key!r} is listed twice, in {seen[key]} and in {name}")
        if _short_hash(key) in repeated:
            seen[key] = name


def _key_hashes(folder: Path, chain: Sequence[Plan]) -> NDArray[np.uint64]:
    hashes = np.fromiter((_short_hash(key) for _, key in _keys(folder, chain)), np.uint64)
    hashes.sort()
    return hashes


def _keys(folder: Path, chain: Sequence[Plan]) -> Iterator[tuple[str, str]]:
    """Yields each key that the plans list, after the file that lists it."""
    for name in (file.name for plan in chain for file in plan.files):
        for key in read_table(candidates_path(folder, name), ["key"]).column("key").to_pylist():
            yield name, key


def _batches(candidates: Iterable[Candidate], size: int) -> Iterator[list[Candidate]]:
    rest = iter(candidates)
    while batch := list(islice(rest, size)):
        yield batch


def _write_record(folder: Path, plan: Plan) -> None:
    record = {"version": FORMAT_VERSION} | json.loads(canonical_json(asdict(plan)))
    write_json(_record_path(folder, plan.snapshot), record | {"record_sha256": _hash_of(record)})


def _record_path(folder: Path, snapshot: str) -> Path:
    return folder / "plan" / f"{snapshot}.json"


def _short_hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")


def _hash_of(record: Mapping[str, Any]) -> str:
    return sha256_bytes(canonical_json(record).encode())


def _hash_or_none(path: Path) -> str | None:
    return sha256_file(path) if path.is_file() else None
