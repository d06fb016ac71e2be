"""Stage embed: encodes every caption once and keeps the vectors beside the shard they belong to.

    with embed_lock(...):  begin  ->  every missing shard, by whoever runs them  ->  finish

The stage runs them one after another in this process, since one encoder fills the machine.
"""

import functools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch

from minimagen.config import Params
from minimagen.files import write_json
from minimagen.shards import ShardJob, ShardReport
from minimagen.stages.device import device_from_environment
from minimagen.stages.run_lock import run_lock, stage_lock
from minimagen.text import embed
from minimagen.text.embed import EmbedSummary

logger = logging.getLogger(__name__)

CURATED = Path("data/curated")
TEXT_ENCODER = Path("data/text_encoder")
OUT = Path("data/embeddings")
STATE = Path("runs/embed")


@dataclass(frozen=True, slots=True)
class Embedding:
    """Captions that are being encoded: the plan, and what is to do."""

    jobs: tuple[ShardJob, ...]
    run: Callable[[ShardJob], ShardReport]
    """Makes a file; idempotent and atomic, and can be sent to other processes."""
    done: tuple[ShardReport, ...]
    """Of files that were there already."""
    missing: tuple[ShardJob, ...]
    """What is still to run, in any order and anywhere that sees the same files."""
    out: Path
    state: Path
    device: str
    max_length: int
    started_s: float


def run_embed(params: Params, root: Path = Path()) -> None:
    """Writes ``data/embeddings/``; shards that are done are not encoded again.

    Raises:
        ConfigError: MINIMAGEN_DEVICE asks for what this machine lacks.
        ValueError: a stage before this one has not finished, or its files have changed.
        BusyError: another process encodes.
    """
    with embed_lock(root):
        embedding = begin(params, root)
        reports: list[ShardReport] = []
        for report in chain(embedding.done, map(embedding.run, embedding.missing)):
            reports.append(report)
            print(f"embed: {len(reports)}/{len(embedding.jobs)} {report.name}: {told(report)}", flush=True)
        finish(embedding, reports)


@contextmanager
def embed_lock(root: Path = Path()) -> Iterator[None]:
    """Keeps the embeddings for this process while the block runs.

    Raises:
        BusyError: another process encodes.
    """
    with run_lock(stage_lock(root, "embed")):
        yield


def begin(params: Params, root: Path = Path()) -> Embedding:
    """Plans, deletes what the plan does not name, and finds out what is done. The caller holds the embeddings.

    Raises:
        ConfigError: MINIMAGEN_DEVICE asks for what this machine lacks.
        ValueError: a stage before this one has not finished.
    """
    started_s, device, out = time.monotonic(), device_from_environment(), root / OUT
    jobs = embed.plan(
        root / CURATED,
        encoder=root / TEXT_ENCODER,
        config=params.embed,
        max_length=params.text_encoder.max_length,
    )
    (out / "manifest.json").unlink(missing_ok=True)  # Written last: a folder without one is unfinished.
    for path in embed.remove_unplanned(out, jobs):
        print(f"embed: removed {path.name}, which is not in the plan")
    found = [(job, embed.find_report(out, job)) for job in jobs]
    return Embedding(
        jobs=tuple(jobs),
        run=functools.partial(_encode, folder=out, device=device, num_threads=torch.get_num_threads()),
        done=tuple(report for _, report in found if report is not None),
        missing=tuple(job for job, report in found if report is None),
        out=out,
        state=root / STATE,
        device=device,
        max_length=params.text_encoder.max_length,
        started_s=started_s,
    )


def finish(embedding: Embedding, reports: Sequence[ShardReport]) -> EmbedSummary:
    """Writes the manifest and returns what it covers.

    Args:
        reports: of every file of the plan.
    """
    summary = embed.finish(embedding.out, embedding.jobs)
    num_encoded = sum(report.stored for report in reports if not report.was_done)
    total_s = time.monotonic() - embedding.started_s
    timings = {
        "total_s": round(total_s, 3),
        "num_encoded": num_encoded,
        "captions_per_s": round(num_encoded / total_s, 1),
    }
    write_json(embedding.state / "timings.json", timings | {"device": embedding.device})
    print(
        f"embed: {summary.num_captions} captions, {summary.num_tokens} tokens, "
        f"{summary.captions.num_cut} cut at {embedding.max_length} tokens, {num_encoded} encoded now -> {embedding.out}"
    )
    for problem in summary.captions.problems():
        logger.warning("embed: %s", problem)
    return summary


def told(report: ShardReport) -> str:
    """Returns the outcome of a file in words."""
    return f"{report.stored} captions, {'done before' if report.was_done else 'encoded'}"


def _encode(job: ShardJob, *, folder: Path, device: str, num_threads: int) -> ShardReport:
    """Runs a job with as many of torch's threads as the process that planned it: sums depend on their number."""
    if torch.get_num_threads() != num_threads:
        torch.set_num_threads(num_threads)
    return embed.run(job, folder=folder, device=device)
