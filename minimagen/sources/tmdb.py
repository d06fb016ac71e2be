"""Posters of The Movie Database with what its pages say of them, as far as its terms allow.

The terms forbid machine learning without TMDB's written permission, so nothing is asked before the parameters say that
there is one. Knows no picture: ``remote.run`` fetches them.
"""

from pathlib import Path

from minimagen.config import ConfigError, TmdbConfig
from minimagen.rows import snapshot_instant
from minimagen.shards import ShardJob
from minimagen.sources.candidates import find_plan, jobs_of, newest_plan
from minimagen.sources.clock import SYSTEM_CLOCK, Clock
from minimagen.sources.services import TmdbServices, read_services
from minimagen.sources.tmdb_api import token_from_environment
from minimagen.sources.tmdb_films import ATTRIBUTION, LICENSE, SOURCE
from minimagen.sources.tmdb_listing import Listing
from minimagen.sources.tombstones import read_tombstones

__all__ = ["ATTRIBUTION", "LICENSE", "SOURCE", "plan"]


def plan(
    config: TmdbConfig, *, reads: Path, snapshot: str, folder: Path, state: Path, clock: Clock = SYSTEM_CLOCK
) -> list[ShardJob]:
    """Returns the jobs of a snapshot; its list is asked for once, and a killed listing goes on where it stopped.

    Args:
        reads: the service file.
        snapshot: an ISO date: rows carry it as ``fetched_at``, by which they are purged.
        folder: ``data/raw/tmdb``, which gets the plan.
        state: ``runs/ingest/tmdb``: what was answered so far.

    Raises:
        ConfigError: there is no permission, no token, the snapshot is no date, or the service file is wrong.
        UserError: the service refuses, or answers what it does not document; or a purge was interrupted.
    """
    if not config.i_have_written_permission:
        raise ConfigError(
            "params.yaml: ingest.tmdb.i_have_written_permission is false: TMDB's API Terms of Use, section 1.C, forbid "
            "machine learning with its data and pictures. Ask sales@themoviedb.org for a written agreement, and say "
            "true once you have it; nothing was asked of TMDB"
        )
    instant = snapshot_instant(snapshot)
    if instant is None:
        raise ConfigError(
            f"params.yaml: ingest.snapshot is {snapshot!r}, expected a date like 2026-11-22: TMDB's terms (1.C) let "
            "its content be kept for six months, and `minimagen purge` tells by the date what is older"
        )
    tombstones = read_tombstones(folder)
    shape = config.model_dump(mode="json")
    found = find_plan(folder, snapshot, shape)
    if found is None:
        after = newest_plan(folder, shape)
        listing = Listing(config, snapshot, instant.date(), after, folder, state)
        found = listing.make_plan(read_services(reads, TmdbServices), token_from_environment(), tombstones, clock)
    return jobs_of(folder, found, SOURCE, reads)
