"""Runs one shard of a source of the network: asks for the pictures of a candidate file and stores them as rows.

Knows no service: what to ask for stands in the candidate file, how to ask in the service file. The shard depends on
the candidates and on what hosts serve; not on the order in which they answer, on interruptions, or on processes.
"""

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from minimagen.config import CaptionRules, ImageRules
from minimagen.errors import UserError
from minimagen.files import canonical_json, sha256_bytes, sha256_file
from minimagen.shards import ShardJob, ShardReport, find_report, write_shard
from minimagen.sources.candidates import candidates_path, iter_candidates
from minimagen.sources.collecting import collect
from minimagen.sources.decoding import Decoder
from minimagen.sources.decoding_notes import read_notes
from minimagen.sources.image_fetcher import ImageFetcher
from minimagen.sources.older_captions import has_older_captions, known_outcomes
from minimagen.sources.remote_rows import row_of, settle, wanted_urls, wish_for
from minimagen.sources.services import ImageHosts, read_image_hosts
from minimagen.sources.spool import Spool, notes_path, open_spool, remove_spool, spool_path


@dataclass(frozen=True, slots=True)
class _Task:
    """What a job says, checked."""

    candidates: Path
    snapshot: str
    max_bytes: int
    images: ImageRules
    captions: CaptionRules
    hosts: ImageHosts
    fingerprint: str
    """Of all but what this machine reads, as for the shard itself."""


def run(job: ShardJob, *, folder: Path, state: Path, num_processes: int = 1, num_machines: int = 1) -> ShardReport:
    """Stores the pictures of one job in ``folder``; a shard that is done stays as it is.

    Args:
        folder: data/raw/<source>, with the candidates below it.
        state: runs/ingest/<source>: what came so far, so that an interrupted job asks for the rest only.
        num_processes: that run jobs of this source at the same time; they share the places at hosts.
        num_machines: that these are spread over; each has its part of the requests per second.

    Raises:
        UserError: the candidate file is not the planned one, or the service file cannot be understood.
    """
    report = find_report(folder, job)
    if report is None:
        report = _run(job, _task_of(job, folder, num_machines), folder, state, num_processes)
    if not report.pending:
        remove_spool(spool_path(state, job.name))
    return report


def remove_old_spools(jobs: Iterable[ShardJob], *, folder: Path, state: Path) -> None:
    """Deletes the spools that no job needs: of shards that are done (a kill may leave one), or no longer planned."""
    planned = {spool_path(state, job.name): job for job in jobs}
    for path in sorted((state / "spool").glob("*.spool")):
        if path not in planned or find_report(folder, planned[path]) is not None:
            remove_spool(path)


def being_decoded(jobs: Iterable[ShardJob], *, state: Path) -> list[str]:
    """Returns the addresses of the pictures that the processes of some jobs were decoding when they died."""
    return [url for job in jobs for url in read_notes(notes_path(spool_path(state, job.name)))]


def _run(job: ShardJob, task: _Task, folder: Path, state: Path, num_processes: int) -> ShardReport:
    wishes = [wish_for(candidate, task.captions) for candidate in iter_candidates(task.candidates)]
    with open_spool(spool_path(state, job.name), task.fingerprint) as spool:
        wanted = wanted_urls(wishes)
        if has_older_captions(job, folder):
            spool.take_over(known_outcomes(job, folder), wanted)
        missing = [url for url in wanted if url not in spool.verdicts()]
        if missing:
            asyncio.run(_ask(missing, task, spool, state, num_processes))
        outcomes = settle(wishes, spool.verdicts())
        rows = (
            row_of(wish, spool.picture(wish.url), source=job.source, snapshot=task.snapshot) for wish in outcomes.stored
        )
        return write_shard(folder, job, rows, outcomes.failures, pending=outcomes.num_pending)


async def _ask(urls: Sequence[str], task: _Task, spool: Spool, state: Path, num_processes: int) -> None:
    num_at_once = max(1, task.hosts.in_flight // num_processes)
    fetcher = ImageFetcher(task.hosts, max_bytes=task.max_bytes, state=state, num_processes=num_processes)
    async with fetcher:
        with Decoder(task.images, spool.notes, spool.suspects) as decoder:
            await collect(urls, fetcher.fetch, decoder, spool.keep, num_at_once=num_at_once)


def _task_of(job: ShardJob, folder: Path, num_machines: int) -> _Task:
    spec = json.loads(job.spec)
    hosts = read_image_hosts(Path(spec["reads"]))
    config, listed = spec["config"], spec["candidates"]
    candidates = candidates_path(folder, listed["name"])
    if not candidates.is_file() or sha256_file(candidates) != listed["sha256"]:
        raise UserError(f"{candidates}: gone or damaged since it was planned: run the ingest again")
    return _Task(
        candidates=candidates,
        snapshot=spec["snapshot"],
        max_bytes=config["max_bytes"],
        images=ImageRules.model_validate_json(json.dumps(config["images"])),
        captions=CaptionRules.model_validate_json(json.dumps(config["captions"])),
        hosts=hosts.model_copy(update={"requests_per_s": hosts.requests_per_s / num_machines}),
        fingerprint=sha256_bytes(canonical_json({key: spec[key] for key in spec if key != "reads"}).encode()),
    )
