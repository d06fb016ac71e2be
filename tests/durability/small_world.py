"""The whole of a project in miniature for the state machine: real shards, lists, purges, curation, models and registry.

What a service would list and serve is drawn from keys, and a training copies a network's weights: neither asks anybody
nor computes. ``dying`` lets an operation die at any change of the disk, as a kill would. Imports no pytest.
"""

import functools
import hashlib
import io
import json
import os
import random
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from minimagen.config import Params, RemoteSource
from minimagen.experiments import load_experiment
from minimagen.files import sha256_file
from minimagen.manifest import read_manifest
from minimagen.rows import Failure, Row, snapshot_instant
from minimagen.saved_model import read_model, write_model
from minimagen.sealed import remove_leftovers
from minimagen.shards import ShardJob, ShardReport, read_table, write_shard
from minimagen.sources.candidates import (
    Candidate,
    candidates_path,
    find_plan,
    iter_candidates,
    jobs_of,
    newest_plan,
    plan_paths,
    write_plan,
)
from minimagen.sources.tombstones import honour_tombstones, read_tombstones, tombstones_path
from minimagen.stages import ingest
from minimagen.stages.curate import run_curate
from minimagen.stages.ingest import run_ingest
from minimagen.stages.purge import purge
from minimagen.stages.run_lock import run_lock, stage_lock
from minimagen.stages.source_plans import PlannedSource
from tests.contents import files_below
from tests.durability.toy_pipeline import CHECKOUT

SOURCE = "tmdb"
RAW, CURATED = Path("data/raw") / SOURCE, Path("data/curated")
FIRST_DAY = date(2026, 1, 1)
KEYS_PER_SNAPSHOT, SHARD_ROWS = 7, 4
PARTS = {
    "raw": ("raw/*/shards/*.parquet", "raw/*/manifest.json"),
    "records": ("raw/*/shards/*.json", "raw/*/failures/*.parquet"),
    "curated": ("curated/*/shards/*.parquet", "curated/manifest.json"),
    "models": ("models/*/*",),
}
"""What can be damaged, below data/: read by the next stage, or by the same one alone."""
_CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir")


class Died(BaseException):
    """An operation has died; nothing after it changes the disk."""


def day_of(number: int) -> str:
    """Returns the name of a snapshot, ten days after the one before."""
    return (FIRST_DAY + timedelta(days=10 * number)).isoformat()


@functools.cache
def params_of(snapshot: str) -> Params:
    """Returns the parameters of a project that reads films."""
    params = load_experiment(CHECKOUT, "paper-256-movies").params
    section = params.ingest.tmdb
    assert section is not None
    section = section.model_copy(update={"shard_rows": SHARD_ROWS, "min_success": 0.0})
    return params.model_copy(
        update={"ingest": params.ingest.model_copy(update={"snapshot": snapshot, "tmdb": section})}
    )


def keys_of(number: int) -> list[str]:
    """Returns what the service lists at a snapshot: some of it is new, some it had before."""
    first = number * (KEYS_PER_SNAPSHOT - 2)
    return [f"{SOURCE}:{key}" for key in range(first, first + KEYS_PER_SNAPSHOT)]


def is_stored(key: str) -> bool:
    """Whether the picture of a key can be had."""
    return int(key.partition(":")[2]) % 5 != 3


def run_world_ingest(root: Path, number: int) -> None:
    """Runs stage ingest at a snapshot; only the listing and the fetching are this file's."""
    plan = functools.partial(_plan_source, number)
    with mock.patch.object(ingest, "plan_source", plan):
        run_ingest(params_of(day_of(number)), SOURCE, root)


def _plan_source(
    number: int, params: Params, source: str, root: Path, *, num_processes: int, num_machines: int
) -> PlannedSource:
    """Does what ``source_plans`` does with a source that lists."""
    folder, snapshot, config = root / RAW, params.ingest.snapshot, params.ingest.tmdb
    assert isinstance(config, RemoteSource)
    shape = config.model_dump(mode="json")
    tombstones = read_tombstones(folder)
    found = find_plan(folder, snapshot, shape)
    if found is None:
        after = newest_plan(folder, shape)
        known = set() if after is None else _listed(folder, after)
        new = [_candidate(key) for key in keys_of(number) if key not in known]
        listed = honour_tombstones(new, tombstones)
        found = write_plan(folder, snapshot, shape, listed, shard_rows=SHARD_ROWS, after=after, watermark={})
    jobs = jobs_of(folder, found, source, Path("service"))
    keep = (*plan_paths(folder, found), tombstones_path(folder))
    return PlannedSource(jobs, functools.partial(_fetch, folder), config, "a licence", keep)


def _listed(folder: Path, plan) -> set[str]:
    names = [job.name for job in jobs_of(folder, plan, SOURCE, Path("service"))]
    return {one.key for name in names for one in iter_candidates(candidates_path(folder, name))}


def _candidate(key: str) -> Candidate:
    return Candidate(key, f"http://host.example/{key}", (f"film {key}",), "", "a licence", adult=False, lang="en")


def _fetch(folder: Path, job: ShardJob) -> ShardReport:
    rows: list[Row] = []
    failures: list[Failure] = []
    for one in iter_candidates(candidates_path(folder, job.name)):
        if one.reason or not is_stored(one.key):
            failures.append(Failure(one.key, one.url, one.reason or "http_404", one.detail))
        else:
            rows.append(_row(one, job.name.rpartition("-")[0]))
    return write_shard(folder, job, rows, failures)


def _row(one: Candidate, snapshot: str) -> Row:
    digest = hashlib.sha256(one.key.encode()).digest()
    picture = io.BytesIO()
    Image.fromarray(np.frombuffer(digest * 6, np.uint8).reshape(8, 8, 3)).save(picture, "PNG")
    return Row(
        key=one.key,
        image_bytes=picture.getvalue(),
        text=one.captions[0],
        text_raw=one.captions[0],
        captions=one.captions,
        width=8,
        height=8,
        orig_width=8,
        orig_height=8,
        format="png",
        sha256=digest.hex(),
        phash=int.from_bytes(digest[:8], "big", signed=True),
        source=SOURCE,
        source_url=one.url,
        page_url=one.page_url,
        license=one.license,
        adult=one.adult,
        lang=one.lang,
        fetched_at=snapshot_instant(snapshot),
        extra=one.extra,
    )


def run_world_curate(root: Path, number: int) -> None:
    """Runs stage curate."""
    run_curate(params_of(day_of(number)), root)


def run_world_train(root: Path, cascade: Path) -> None:
    """Writes the cascade that the curated data make: the weights are a fixed network's, the record names the data.

    Raises:
        UserError: a curated shard is not the one that its manifest lists.
    """
    manifest = read_manifest(root / CURATED)
    for shard in manifest.shards:
        path = root / CURATED / shard.file
        if not path.is_file() or sha256_file(path) != shard.sha256:
            raise DamagedError(f"{path} is damaged")
    with run_lock(stage_lock(root, "train", "base")):
        for name in ("base", "super"):
            remove_leftovers(root / "data/models", name)
            record, tensors = _weights(cascade, name)
            data = record.model_copy(update={"data_sha256": manifest.data_sha256})
            write_model(root / "data/models" / name, data, tensors)


class DamagedError(ValueError):
    """What a stage read is not what the stage before wrote."""


@functools.cache
def _weights(cascade: Path, name: str):
    saved = read_model(cascade / "models" / name)
    return saved.record, saved.tensors


def run_world_purge(root: Path, number: int) -> None:
    """Purges what is older than a snapshot, under the lock that the command holds."""
    with run_lock(stage_lock(root, "ingest", SOURCE)):
        purge(root / RAW, date.fromisoformat(day_of(number)), state=root / "runs/ingest" / SOURCE)


def start_world(root: Path, cascade: Path) -> None:
    """Puts what a training does not make where it would be: the encoder and cascade.json."""
    (root / "data").mkdir(parents=True)
    shutil.copytree(cascade / "text_encoder", root / "data/text_encoder")
    shutil.copy(cascade / "cascade.json", root / "data/cascade.json")


def corrupt(path: Path, draws: random.Random) -> None:
    """Flips a bit of a file, or cuts it in its first half; no hash would notice a flip in a manifest's counts."""
    content = bytearray(path.read_bytes())
    if draws.random() < 0.3 or path.name == "manifest.json":
        content = content[: draws.randrange(len(content) // 2)]
    else:
        content[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
    path.write_bytes(content)


def keys_in(root: Path) -> set[str]:
    """Returns the keys that the raw manifest's shards hold."""
    manifest = read_manifest(root / RAW)
    return {key for shard in manifest.shards for key in read_table(root / RAW / shard.file, ["key"])["key"].to_pylist()}


class Reaper:
    """Counts changes of the disk below a folder, and kills at one of them; its audit hook cannot be taken away."""

    def __init__(self) -> None:
        self.root: Path | None = None
        self.left = 0
        self.has_killed = False
        sys.addaudithook(self._watch)

    def _watch(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.root is None:
            return
        is_write = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if is_write or event in _CHANGES:
            path = arguments[0]
            if isinstance(path, str | os.PathLike) and str(path).startswith(str(self.root)):
                self.left -= 1
                if self.left < 0:
                    self.has_killed = True
                    raise Died

    @contextmanager
    def dying(self, root: Path, after: int) -> Iterator[None]:
        """Within it the change of that number (from 0) below ``root``, and all that follow, do not happen."""
        self.root, self.left, self.has_killed = root, after, False
        try:
            yield
        except Died:
            pass
        finally:
            self.root = None


def summary_of(root: Path) -> str:
    """Returns one hash of all that the stages have written."""
    whole = hashlib.sha256()
    for top in (RAW, CURATED, Path("data/models")):
        for path, content in files_below(root / top).items():
            whole.update(json.dumps([str(top), path, content]).encode())
    return whole.hexdigest()
