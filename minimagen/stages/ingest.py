"""Stage ingest: reads one source into data/raw/<source>/, every row stored or rejected with a reason.

    with ingest_lock(...):  begin  ->  every missing shard, by whoever runs them  ->  finish  ->  judge

Which shards there are and what they hold is the source's business; what is done already is not done again.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from minimagen.config import Params, Section
from minimagen.errors import UserError
from minimagen.files import write_json
from minimagen.manifest import Manifest, counts_of, read_manifest, write_manifest
from minimagen.shards import (
    ShardJob,
    ShardReport,
    count_rows,
    failures_path,
    find_report,
    read_shard_file,
    remove_unplanned,
)
from minimagen.sources.captions import CLEANER_VERSION
from minimagen.sources.remote import being_decoded, remove_old_spools
from minimagen.stages.pool import WorkerDiedError, map_jobs, num_processes_from_environment
from minimagen.stages.run_lock import run_lock, stage_lock
from minimagen.stages.source_plans import OUT, STATE, PlannedSource, plan_source


@dataclass(frozen=True, slots=True)
class Ingest:
    """A source that is being read: its plan, and what is to do."""

    source: str
    snapshot: str
    planned: PlannedSource
    out: Path
    state: Path
    done: tuple[ShardReport, ...]
    """Of shards that were there already."""
    missing: tuple[ShardJob, ...]
    """What is still to run, each by ``run``, in any order and anywhere that sees the same files."""
    started_s: float

    @property
    def run(self) -> Callable[[ShardJob], ShardReport]:
        """Makes a shard; idempotent and atomic, and can be sent to other processes."""
        return self.planned.run


def run_ingest(params: Params, source: str, root: Path = Path()) -> None:
    """Writes ``data/raw/<source>/``; shards that are done are not made again.

    Raises:
        ConfigError: what the source reads is missing or cannot be understood.
        UserError: a service refuses, fewer rows were stored than the parameters ask for, or a worker died.
        BusyError: the source is being read or purged.
    """
    num_processes = num_processes_from_environment()
    with ingest_lock(source, root):
        ingest = begin(params, source, root, num_processes=num_processes)
        reports: list[ShardReport] = []
        for report in chain(ingest.done, _run_missing(ingest, num_processes)):
            reports.append(report)
            print(f"ingest: {len(reports)}/{len(ingest.planned.jobs)} {report.name}: {told(report)}", flush=True)
        judge(ingest, finish(ingest, reports))


def _run_missing(ingest: Ingest, num_processes: int) -> Iterator[ShardReport]:
    """Makes what is missing; of a worker that died it says which pictures were being decoded."""
    try:
        yield from map_jobs(ingest.run, ingest.missing, num_processes)
    except WorkerDiedError as error:
        pictures = being_decoded(ingest.missing, state=ingest.state)
        if not pictures:
            raise
        raise WorkerDiedError(
            f"{error}. Or it died of a picture that was being decoded: {', '.join(pictures)}. "
            "Run again: what was being decoded then gets a process of its own, which may die of it"
        ) from error


@contextmanager
def ingest_lock(source: str, root: Path = Path()) -> Iterator[None]:
    """Keeps the source for this process while the block runs: nobody else reads or purges it.

    Raises:
        BusyError: the source is being read or purged.
    """
    with run_lock(stage_lock(root, "ingest", source)):
        yield


def begin(params: Params, source: str, root: Path = Path(), *, num_processes: int, num_machines: int = 1) -> Ingest:
    """Plans, deletes what the plan does not name, and finds out what is done. The caller holds the source.

    Args:
        num_processes: that will run the shards at the same time: they share what hosts allow.
        num_machines: that these are spread over.

    Raises:
        ConfigError: what the source reads is missing or cannot be understood.
        UserError: a service refuses, or a purge was interrupted.
    """
    started_s, out = time.monotonic(), root / OUT / source
    planned = plan_source(params, source, root, num_processes=num_processes, num_machines=num_machines)
    _make_room(out, planned)
    found = [(job, find_report(out, job)) for job in planned.jobs]
    return Ingest(
        source=source,
        snapshot=params.ingest.snapshot,
        planned=planned,
        out=out,
        state=root / STATE / source,
        done=tuple(report for _, report in found if report is not None),
        missing=tuple(job for job, report in found if report is None),
        started_s=started_s,
    )


def finish(ingest: Ingest, reports: Sequence[ShardReport]) -> Mapping[str, int]:
    """Writes the manifest and returns the counts in it: of rows by outcome, rejected ones by reason.

    Args:
        reports: of every shard of the plan.
    """
    remove_old_spools(ingest.planned.jobs, folder=ingest.out, state=ingest.state)
    counts = _count(ingest.out, reports)
    write_manifest(ingest.out, _manifest_of(ingest, counts))
    _tell(ingest.out, counts, reports, time.monotonic() - ingest.started_s, ingest.state / "timings.json")
    return counts


def judge(ingest: Ingest, counts: Mapping[str, int]) -> None:
    """Accepts a finished source.

    Raises:
        UserError: fewer rows were stored than the parameters ask for.
    """
    out, planned = ingest.out, ingest.planned
    stored, fetched = counts["stored"], counts["requested"] - planned.num_unwanted
    if not stored:
        raise UserError(f"{out}: none of {counts['requested']} rows could be stored; the reasons are above")
    if stored < planned.min_success * fetched:
        raise UserError(
            f"{out}: {stored} of {fetched} fetched rows stored, {stored / fetched:.1%}; ingest.{out.name}.min_success "
            f"in params.yaml asks for {planned.min_success:.1%}. What is there stays; the reasons are above"
        )


def told(report: ShardReport) -> str:
    """Returns the outcomes of a shard in words."""
    pending = f", {report.pending} pending" if report.pending else ""
    rejected = "done before" if report.was_done else f"{sum(report.rejected.values())} rejected"
    return f"{report.stored} stored, {rejected}{pending}"


def _make_room(out: Path, planned: PlannedSource) -> None:
    """Deletes what the plan does not name; everything, if the folder was shaped by other parameters."""
    is_other = _is_of_other_parameters(out, planned)
    (out / "manifest.json").unlink(missing_ok=True)  # a folder without a manifest is unfinished
    if is_other:
        print(f"ingest: parameters have changed, {out} starts afresh")
    for path in remove_unplanned(out, [] if is_other else planned.jobs, keep=planned.keep):
        print(f"ingest: removed {path.relative_to(out)}, which is not in the plan")


def _is_of_other_parameters(out: Path, planned: PlannedSource) -> bool:
    try:
        return read_manifest(out).params["config"] != _dump(planned.config)
    except UserError:
        return False  # absent or damaged: the record of each shard says what shaped it


def _dump(config: Section) -> dict[str, object]:
    return config.model_dump(mode="json")


def _count(out: Path, reports: Sequence[ShardReport]) -> dict[str, int]:
    """Adds the outcomes up, and makes sure that they are what the files hold."""
    for report in reports:
        num_rejected = sum(report.rejected.values())
        assert report.stored == read_shard_file(out, report.name).rows, f"{report.name}: stored rows do not add up"
        assert num_rejected == count_rows(failures_path(out, report.name)), f"{report.name}: failures do not add up"
    return counts_of(reports)


def _manifest_of(ingest: Ingest, counts: dict[str, int]) -> Manifest:
    return Manifest(
        name=ingest.source,
        params={"snapshot": ingest.snapshot, "config": _dump(ingest.planned.config)},
        counts=counts,
        licenses={ingest.source: ingest.planned.license},
        cleaner_version=CLEANER_VERSION,
        shards=tuple(read_shard_file(ingest.out, job.name) for job in ingest.planned.jobs),
    )


def _tell(out: Path, counts: dict[str, int], reports: Sequence[ShardReport], total_s: float, timings: Path) -> None:
    num_new = sum(report.stored + sum(report.rejected.values()) for report in reports if not report.was_done)
    rate = num_new / total_s
    write_json(timings, {"total_s": round(total_s, 3), "num_rows_read": num_new, "rows_per_s": round(rate, 1)})
    print(
        f"ingest: {out}: {counts['requested']} rows = {counts['stored']} stored + "
        f"{counts['requested'] - counts['stored'] - counts['pending']} rejected + {counts['pending']} pending; "
        f"{num_new} read now in {total_s:.1f} s ({rate:.0f}/s)"
    )
    by_reason = {key.removeprefix("rejected/"): n for key, n in counts.items() if key.startswith("rejected/")}
    for reason, number in sorted(by_reason.items(), key=lambda pair: (-pair[1], pair[0])):
        print(f"ingest:   {number:7d} {reason}")
    if by_reason:
        print(f"ingest: each with its detail in {out / 'failures'}")
    if counts["pending"]:
        print(f"ingest: {counts['pending']} rows wait for hosts; `minimagen ingest {out.name}` asks again")
