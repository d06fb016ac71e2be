"""Stage curate: groups what is alike and splits it, one curated shard per raw shard.

Which row goes where is decided in ``datasets.curate``; this stage reads, asks and writes.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from minimagen.config import ConfigError, CurateConfig, Params
from minimagen.datasets.curate import Placement, Sample, curate, positions_to_look_at, sample_of
from minimagen.datasets.likeness import Look, look_at
from minimagen.errors import UserError
from minimagen.files import sha256_file, write_json
from minimagen.manifest import Manifest, read_manifest, write_manifest
from minimagen.rows import CURATED_SCHEMA, ROW_SCHEMA, Failure, Rejection
from minimagen.shards import ShardFile, iter_images, read_table, shard_path, write_failures, write_table
from minimagen.sources.tombstones import read_tombstones
from minimagen.stages.run_lock import run_lock, stage_lock

RAW = Path("data/raw")
OUT = Path("data/curated")


@dataclass(frozen=True, slots=True)
class _RawShard:
    """One raw shard: where it is, and what curation knows of its rows."""

    source: str
    path: Path
    samples: list[Sample]
    source_urls: list[str]


@dataclass(frozen=True, slots=True)
class _DecidedShard:
    """A raw shard with the outcome of each of its rows."""

    raw: _RawShard
    outcomes: list[Placement | Rejection]


def run_curate(params: Params, root: Path = Path()) -> None:
    """Writes ``data/curated/`` from the sources that the parameters name.

    Raises:
        ConfigError: data/raw has a folder that is not a source of the parameters.
        ValueError: a source is not ingested, its purge was interrupted, a shard is damaged, or there are not two groups
            to split.
        BusyError: another process curates.
    """
    with run_lock(stage_lock(root, "curate")):
        _curate(params, root)


def _curate(params: Params, root: Path) -> None:
    started, out = time.monotonic(), root / OUT
    manifests = _read_sources(params, root / RAW)
    raw = [shard for source, manifest in manifests.items() for shard in _open_shards(root / RAW / source, manifest)]
    decided = _decide(raw, params.curate)
    (out / "manifest.json").unlink(missing_ok=True)  # a folder without a manifest is unfinished
    files = [_write_curated(out, shard) for shard in decided]
    _remove_others(out, decided)
    counts = _count(decided)
    write_manifest(out, _manifest_of(params, manifests, counts, files))
    total_s = time.monotonic() - started
    write_json(
        root / "runs/curate/timings.json",
        {"total_s": round(total_s, 3), "rows_per_s": round(counts["requested"] / total_s, 1)},
    )
    _tell(out, counts, total_s)


def _read_sources(params: Params, raw: Path) -> dict[str, Manifest]:
    """Reads the manifests by source, in an order that does not depend on params.yaml's."""
    present = sorted(path.name for path in raw.iterdir()) if raw.is_dir() else []
    unlisted = [name for name in present if name not in params.sources]
    if unlisted:
        raise ConfigError(
            f"{raw / unlisted[0]} is not in `sources` of params.yaml ({', '.join(sorted(params.sources))}): "
            "delete it, or list it"
        )
    manifests = {source: read_manifest(raw / source) for source in sorted(params.sources)}
    for source in manifests:
        read_tombstones(raw / source)  # rows that a purge has not come to yet must not go on
    versions = {source: manifest.cleaner_version for source, manifest in manifests.items()}
    if len(set(versions.values())) > 1:
        raise UserError(f"{raw}: captions were cleaned by different versions {versions}: run ingest again")
    return manifests


def _open_shards(folder: Path, manifest: Manifest) -> list[_RawShard]:
    shards: list[_RawShard] = []
    for file in manifest.shards:
        path = folder / file.file
        columns = read_table(path, ["key", "text", "phash", "extra", "source_url"]).to_pydict()
        if sha256_file(path) != file.sha256:
            raise UserError(f"{path} is damaged: its SHA-256 is not the one in {folder / 'manifest.json'}")
        rows = zip(columns["key"], columns["text"], columns["phash"], columns["extra"], strict=True)
        samples = [sample_of(key, text, phash, manifest.name, extra) for key, text, phash, extra in rows]
        shards.append(_RawShard(manifest.name, path, samples, columns["source_url"]))
    return shards


def _decide(shards: Sequence[_RawShard], config: CurateConfig) -> list[_DecidedShard]:
    samples = [sample for shard in shards for sample in shard.samples]
    outcomes = curate(samples, _look(shards, positions_to_look_at(samples, config)), config)
    decided: list[_DecidedShard] = []
    start = 0
    for shard in shards:
        decided.append(_DecidedShard(shard, outcomes[start : start + len(shard.samples)]))
        start += len(shard.samples)
    return decided


def _look(shards: Sequence[_RawShard], positions: set[int]) -> dict[int, Look]:
    looks: dict[int, Look] = {}
    start = 0
    for shard in shards:
        stop = start + len(shard.samples)
        if not positions.isdisjoint(range(start, stop)):
            for position, content in enumerate(iter_images(shard.path), start=start):
                if position in positions:
                    looks[position] = look_at(content)
        start = stop
    return looks


def _curated_path(out: Path, shard: _RawShard) -> Path:
    return shard_path(out / shard.source, shard.path.stem)


def _rejected_path(out: Path, shard: _RawShard) -> Path:
    return out / "failures" / f"{shard.source}-{shard.path.stem}.parquet"


def _write_curated(out: Path, shard: _DecidedShard) -> ShardFile:
    placements = [outcome for outcome in shard.outcomes if isinstance(outcome, Placement)]
    kept = read_table(shard.raw.path, ROW_SCHEMA.names).filter(
        pa.array([isinstance(outcome, Placement) for outcome in shard.outcomes], pa.bool_())
    )
    group_ids, splits = ([getattr(placement, name) for placement in placements] for name in ("group_id", "split"))
    table = kept.append_column("group_id", pa.array(group_ids, pa.string()))
    table = table.append_column("split", pa.array(splits, pa.string())).cast(CURATED_SCHEMA)
    path = _curated_path(out, shard.raw)
    failures = _failures_of(shard)
    if failures:
        write_failures(_rejected_path(out, shard.raw), failures)
    return replace(write_table(path, table), file=path.relative_to(out).as_posix())


def _failures_of(shard: _DecidedShard) -> list[Failure]:
    rows = zip(shard.raw.samples, shard.raw.source_urls, shard.outcomes, strict=True)
    return [
        Failure(sample.key, url, outcome.reason, outcome.detail)
        for sample, url, outcome in rows
        if isinstance(outcome, Rejection)
    ]


def _remove_others(out: Path, decided: Sequence[_DecidedShard]) -> None:
    written = {_curated_path(out, shard.raw) for shard in decided}
    written |= {_rejected_path(out, shard.raw) for shard in decided if _failures_of(shard)}
    for path in out.rglob("*"):
        if not path.is_dir() and path not in written:
            path.unlink()


def _count(decided: Sequence[_DecidedShard]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    groups: set[str] = set()
    for shard in decided:
        for outcome in shard.outcomes:
            if isinstance(outcome, Placement):
                groups.add(outcome.group_id)
                counts.update([outcome.split, f"{shard.raw.source}/{outcome.split}"])
            else:
                counts.update([f"rejected/{outcome.reason}"])
    requested = sum(len(shard.outcomes) for shard in decided)
    rejected = sum(len(_failures_of(shard)) for shard in decided)
    assert requested == counts["train"] + counts["validation"] + rejected, "rows do not add up"
    return {"requested": requested, "groups": len(groups)} | dict(sorted(counts.items()))


def _manifest_of(
    params: Params, manifests: dict[str, Manifest], counts: dict[str, int], files: Sequence[ShardFile]
) -> Manifest:
    return Manifest(
        name="curated",
        params={"config": params.curate.model_dump(mode="json")},
        counts=counts,
        licenses={source: manifest.licenses[source] for source, manifest in manifests.items()},
        cleaner_version=next(iter(manifests.values())).cleaner_version,
        shards=tuple(files),
    )


def _tell(out: Path, counts: dict[str, int], total_s: float) -> None:
    num_rejected = counts["requested"] - counts["train"] - counts["validation"]
    print(
        f"curate: {out}: {counts['requested']} rows in {counts['groups']} groups = {counts['train']} train + "
        f"{counts['validation']} validation + {num_rejected} rejected ({total_s:.1f} s)"
    )
    for key, number in counts.items():
        if "/" in key:
            print(f"curate:   {number:7d} {key}")
    if num_rejected:
        print(f"curate: each with its detail in {out / 'failures'}")
