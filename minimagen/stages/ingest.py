"""Stage ingest: reads one source into data/raw/<source>/, every row stored or rejected with a reason.

Which shards there are and what they hold is the source's business; what is done already is not done again.
"""

import time
from collections.abc import Iterator, Sequence
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


def run_ingest(params: Params, source: str, root: Path = Path()) -> None:
    """Writes ``data/raw/<source>/``; shards that are done are not made again.

    Raises:
        ConfigError: what the source reads is missing or cannot be understood.
        UserError: a service refuses, fewer rows were stored than the parameters ask for, or a worker died.
        BusyError: the source is being read or purged.
    """
    with run_lock(stage_lock(root, "ingest", source)):
        _ingest(params, source, root)


def _ingest(params: Params, source: str, root: Path) -> None:
    started, out, runs = time.monotonic(), root / OUT / source, root / STATE / source
    planned = plan_source(params, source, root, num_processes=num_processes_from_environment())
    _make_room(out, planned)
    reports: list[ShardReport] = []
    for report in _run_missing(out, planned, runs):
        reports.append(report)
        print(f"ingest: {len(reports)}/{len(planned.jobs)} {report.name}: {_told(report)}", flush=True)
    remove_old_spools(planned.jobs, folder=out, state=runs)
    counts = _count(out, reports)
    write_manifest(out, _manifest_of(params, source, planned, counts, out))
    _tell(out, counts, reports, time.monotonic() - started, runs / "timings.json")
    _judge(out, counts, planned)


def _told(report: ShardReport) -> str:
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


def _run_missing(out: Path, planned: PlannedSource, runs: Path) -> Iterator[ShardReport]:
    """Yields the reports of what is done, then runs the rest: no process is started where there is nothing to do."""
    missing: list[ShardJob] = []
    for job in planned.jobs:
        report = find_report(out, job)
        if report is None:
            missing.append(job)
        else:
            yield report
    try:
        yield from map_jobs(planned.run, missing, num_processes_from_environment())
    except WorkerDiedError as error:
        pictures = being_decoded(missing, state=runs)
        if not pictures:
            raise
        raise WorkerDiedError(
            f"{error}. Or it died of a picture that was being decoded: {', '.join(pictures)}. "
            "Run again: what was being decoded then gets a process of its own, which may die of it"
        ) from error


def _dump(config: Section) -> dict[str, object]:
    return config.model_dump(mode="json")


def _count(out: Path, reports: Sequence[ShardReport]) -> dict[str, int]:
    """Adds the outcomes up, and makes sure that they are what the files hold."""
    for report in reports:
        num_rejected = sum(report.rejected.values())
        assert report.stored == read_shard_file(out, report.name).rows, f"{report.name}: stored rows do not add up"
        assert num_rejected == count_rows(failures_path(out, report.name)), f"{report.name}: failures do not add up"
    return counts_of(reports)


def _manifest_of(params: Params, source: str, planned: PlannedSource, counts: dict[str, int], out: Path) -> Manifest:
    return Manifest(
        name=source,
        params={"snapshot": params.ingest.snapshot, "config": _dump(planned.config)},
        counts=counts,
        licenses={source: planned.license},
        cleaner_version=CLEANER_VERSION,
        shards=tuple(read_shard_file(out, job.name) for job in planned.jobs),
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


def _judge(out: Path, counts: dict[str, int], planned: PlannedSource) -> None:
    stored, fetched = counts["stored"], counts["requested"] - planned.num_unwanted
    if not stored:
        raise UserError(f"{out}: none of {counts['requested']} rows could be stored; the reasons are above")
    if stored < planned.min_success * fetched:
        raise UserError(
            f"{out}: {stored} of {fetched} fetched rows stored, {stored / fetched:.1%}; ingest.{out.name}.min_success "
            f"in params.yaml asks for {planned.min_success:.1%}. What is there stays; the reasons are above"
        )
