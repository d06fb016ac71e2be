"""Which sources there are: how each is planned and run. Adding a source means adding it here and to the parameters.

Knows no shard: what a job holds is the source's business.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from minimagen.config import Params, RemoteSource, Section
from minimagen.shards import ShardJob, ShardReport, read_table
from minimagen.sources import anime, conceptual_captions, folder, manifest, remote, tmdb
from minimagen.sources.candidates import candidates_path, find_plan, plan_paths
from minimagen.sources.tombstones import read_tombstones, tombstones_path

OUT = Path("data/raw")
STATE = Path("runs/ingest")


@dataclass(frozen=True, slots=True)
class PlannedSource:
    """The jobs of a source, what runs them, and what the manifest says of it."""

    jobs: list[ShardJob]
    run: Callable[[ShardJob], ShardReport]
    config: Section
    license: str
    keep: Sequence[Path] = ()
    """Files in the source's folder that are neither of a shard nor the manifest."""
    min_success: float = 0.0
    """Share of the rows that are fetched that has to be stored."""
    num_unwanted: int = 0
    """Rows of the plan that are not even fetched (adult, without a poster, ...)."""


def plan_source(
    params: Params, source: str, root: Path = Path(), *, num_processes: int = 1, num_machines: int = 1
) -> PlannedSource:
    """Plans one source of the parameters; a flow maps the same jobs.

    Args:
        num_processes: that will run the jobs at the same time: they share what hosts allow.
        num_machines: that these are spread over.

    Raises:
        ConfigError: what the source reads is missing or cannot be understood.
        UserError: a service refuses, or a purge was interrupted.
    """
    reads, out, config = root / params.sources[source], root / OUT / source, params.ingest
    if config.scenes is not None:
        from minimagen.sources import scenes  # draws with torch, whose seconds of import no other source needs

        if source == scenes.SOURCE:
            jobs = scenes.plan(config.scenes, reads=reads, snapshot=config.snapshot)
            return PlannedSource(jobs, functools.partial(scenes.run, folder=out), config.scenes, scenes.LICENSE)
    if source == folder.SOURCE and config.folder is not None:
        jobs = folder.plan(config.folder, reads=reads, snapshot=config.snapshot)
        return PlannedSource(jobs, functools.partial(folder.run, folder=out), config.folder, config.folder.license)
    read_tombstones(out)  # refuses while a purge is unfinished
    section, jobs, license = _plan_remote(params, source, reads, out, root / STATE / source)
    plan = find_plan(out, config.snapshot, section.model_dump(mode="json"))
    assert plan is not None, f"{source} has returned jobs of a plan that it has not written"
    state = root / STATE / source
    run = functools.partial(remote.run, folder=out, state=state, num_processes=num_processes, num_machines=num_machines)
    keep = (*plan_paths(out, plan), tombstones_path(out))
    return PlannedSource(jobs, run, section, license, keep, section.min_success, _num_unwanted(out, jobs))


def _num_unwanted(out: Path, jobs: Sequence[ShardJob]) -> int:
    files = (candidates_path(out, job.name) for job in jobs)
    return sum(reason != "" for file in files for reason in read_table(file, ["reason"]).column("reason").to_pylist())


def _plan_remote(
    params: Params, source: str, reads: Path, out: Path, state: Path
) -> tuple[RemoteSource, list[ShardJob], str]:
    config = params.ingest
    places = {"reads": reads, "snapshot": config.snapshot, "folder": out, "state": state}
    if source == tmdb.SOURCE and config.tmdb is not None:
        return config.tmdb, tmdb.plan(config.tmdb, **places), tmdb.LICENSE
    if source == anime.SOURCE and config.anime is not None:
        return config.anime, anime.plan(config.anime, **places), anime.LICENSE
    if source == conceptual_captions.SOURCE and config.conceptual_captions is not None:
        captions = config.conceptual_captions
        return captions, conceptual_captions.plan(captions, **places), conceptual_captions.LICENSE
    if source == manifest.SOURCE and config.manifest is not None:
        return config.manifest, manifest.plan(config.manifest, **places), config.manifest.license
    raise AssertionError(f"the parameters accept a source {source!r} that this stage does not know")
