"""A simulated TMDB and a project folder that asks it, for the tests of the source, its listing and its purge."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from minimagen.config import Params, TmdbConfig, read_yaml, validate_params
from minimagen.shards import ShardJob
from minimagen.sources import tmdb
from minimagen.sources.candidates import Candidate, Plan, candidates_path, find_plan, iter_candidates
from tests.simulators.server import Site, running_site
from tests.simulators.tmdb import TOKEN, Tmdb
from tests.simulators.tmdb_films import Film

CHECKOUT = Path(__file__).parents[2]
SNAPSHOT = "2026-10-01"
CONFIG = {
    "shard_rows": 1000,
    "max_bytes": 5_000_000,
    "min_success": 0.5,
    "images": {
        "store_size": 32,
        "min_side": 16,
        "max_aspect": 3.0,
        "max_pixels": 5_000_000,
        "min_std": 2.0,
        "animated": "first_frame",
        "encoding": "jpeg",
    },
    "captions": {"min_chars": 3, "max_chars": 300},
    "i_have_written_permission": True,
    "listing": "discover",
    "max_films": None,
    "released_from": None,
    "released_to": None,
    "min_votes": 0,
    "language": "en-US",
    "caption": "overview",
    "textless_posters": False,
    "poster_size": "w92",
}
SERVICES = """\
api: {{url: "{base}/3", requests_per_s: 2000, in_flight: 4}}
exports: {{url: "{base}/p/exports", requests_per_s: 100, in_flight: 1}}
images: {{requests_per_s: 2000, per_host: 4, in_flight: 8, robots: false}}
"""


@dataclass(slots=True)
class TmdbCase:
    """The service, its log, and the project."""

    service: Tmdb
    site: Site
    root: Path

    @property
    def folder(self) -> Path:
        """The source's data."""
        return self.root / "data/raw/tmdb"

    @property
    def state(self) -> Path:
        """The source's resumable state."""
        return self.root / "runs/ingest/tmdb"

    def plan(self, snapshot: str = SNAPSHOT, **changes: object) -> list[ShardJob]:
        """Plans a snapshot with changed parameters."""
        reads = self.root / "tmdb.yaml"
        return tmdb.plan(config_of(**changes), reads=reads, snapshot=snapshot, folder=self.folder, state=self.state)

    def written(self, snapshot: str = SNAPSHOT, **changes: object) -> Plan:
        """Returns a plan that is there."""
        plan = find_plan(self.folder, snapshot, config_of(**changes).model_dump(mode="json"))
        assert plan is not None
        return plan

    def list(self, snapshot: str = SNAPSHOT, **changes: object) -> list[Candidate]:
        """Plans a snapshot and returns what it lists beyond its parents."""
        self.plan(snapshot, **changes)
        files = self.written(snapshot, **changes).files
        return [one for file in files for one in iter_candidates(candidates_path(self.folder, file.name))]

    def params(self, snapshot: str, **changes: object) -> Params:
        """Returns the demo's parameters with this source alone."""
        path = CHECKOUT / "experiments/demo.yaml"
        document = read_yaml(path)
        assert isinstance(document, dict)
        document["sources"] = {"tmdb": "tmdb.yaml"}
        document["ingest"] = {"snapshot": snapshot, "tmdb": CONFIG | changes}
        return validate_params(document, path)

    def num_requests(self, path: str = "/3/") -> int:
        """Returns how many requests below a path there were so far."""
        return sum(request.path.startswith(path) for request in self.site.requests)


def config_of(**changes: object) -> TmdbConfig:
    """Returns parameters that let everything through, but for the changes."""
    return TmdbConfig.model_validate_json(json.dumps(CONFIG | changes))


def searchable(films: tuple[Film, ...], last: str) -> set[str]:
    """Returns the keys of the films that a search up to a date shows, whatever becomes of them."""
    dated = [film for film in films if film.released is not None and film.released.isoformat() <= last]
    return {f"tmdb:{film.id}" for film in dated if not film.video and not (film.adult and film.id % 2)}


def reasons(candidates: list[Candidate]) -> Counter[str]:
    """Counts the candidates by reason."""
    return Counter(one.reason for one in candidates)


@contextmanager
def running_tmdb(root: Path, monkeypatch: pytest.MonkeyPatch, service: Tmdb) -> Iterator[TmdbCase]:
    """Serves a simulated TMDB to a project in ``root``, whose environment has the token."""
    with running_site(service) as site:
        host, port = site.address
        monkeypatch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", f"{host}:{port}")
        monkeypatch.setenv("MINIMAGEN_PROCESSES", "1")
        monkeypatch.setenv("TMDB_TOKEN", TOKEN)
        (root / "tmdb.yaml").write_text(SERVICES.format(base=site.url))
        yield TmdbCase(service, site, root)
