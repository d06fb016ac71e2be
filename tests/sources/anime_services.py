"""The parameters, the service file and the clock with which the source anime is tested against its simulator."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from minimagen.config import AnimeConfig
from minimagen.shards import ShardJob
from minimagen.sources import anime
from minimagen.sources.candidates import Candidate, candidates_path, iter_candidates
from tests.simulators.anime import Anime
from tests.simulators.server import Site, running_site

NOON = 1_800_000_000.0


@dataclass(slots=True)
class VirtualClock:
    """A clock whose waits pass at once."""

    elapsed_s: float = 0.0

    def now(self) -> float:
        return 1000.0 + self.elapsed_s

    def wall(self) -> float:
        return NOON + self.elapsed_s

    def sleep(self, wait_s: float) -> None:
        self.elapsed_s += wait_s

    async def sleep_async(self, wait_s: float) -> None:
        self.elapsed_s += wait_s


def config_of(**changes: object) -> AnimeConfig:
    """Returns parameters for small posters and few quotes."""
    document = {
        "shard_rows": 25,
        "max_bytes": 1_000_000,
        "min_success": 0.5,
        "images": {
            "store_size": 32,
            "min_side": 16,
            "max_aspect": 3.0,
            "max_pixels": 1_000_000,
            "min_std": 2.0,
            "animated": "reject",
            "encoding": "jpeg",
        },
        "captions": {"min_chars": 3, "max_chars": 300},
        "max_titles": None,
        "subtypes": [],
        "poster_size": "tiny",
        "synopsis": True,
        "quotes": False,
        "max_quote_requests": 5,
    }
    return AnimeConfig.model_validate_json(json.dumps(document | changes))


@dataclass(slots=True)
class Case:
    """A project folder beside the simulated services."""

    root: Path
    services: Anime
    site: Site
    clock: VirtualClock = field(default_factory=VirtualClock)

    @property
    def folder(self) -> Path:
        return self.root / "data/raw/anime"

    @property
    def state(self) -> Path:
        return self.root / "runs/ingest/anime"

    @property
    def service_file(self) -> Path:
        return self.root / "anime.yaml"

    def plan(self, snapshot: str = "s1", **changes: object) -> list[ShardJob]:
        """Plans a snapshot."""
        return anime.plan(
            config_of(**changes),
            reads=self.service_file,
            snapshot=snapshot,
            folder=self.folder,
            state=self.state,
            clock=self.clock,
        )

    def candidates(self, jobs: list[ShardJob]) -> list[Candidate]:
        """Returns what the jobs are to fetch."""
        return [one for job in jobs for one in iter_candidates(candidates_path(self.folder, job.name))]

    def asked(self, path: str) -> list[dict[str, str]]:
        """Returns the query of each request to a path, in order, and forgets all requests."""
        queries = [dict(request.query) for request in self.site.requests if request.path == path]
        self.site.requests.clear()
        return queries


@contextmanager
def running_case(root: Path, monkeypatch: pytest.MonkeyPatch, **changes: object) -> Iterator[Case]:
    """Runs the simulated services and writes the service file that names them."""
    clock = VirtualClock()
    services = Anime(clock=clock.wall, **changes)  # pyright: ignore[reportArgumentType]
    with running_site(services) as site:
        monkeypatch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", site.url.removeprefix("http://"))
        monkeypatch.delenv("ANIMECHAN_KEY", raising=False)
        case = Case(root, services, site, clock)
        case.service_file.write_text(
            f'kitsu: {{url: "{site.url}/api/edge", requests_per_s: 500, in_flight: 2}}\n'
            f'animechan: {{url: "{site.url}/v1", requests_per_s: 500, in_flight: 1}}\n'
            "images: {requests_per_s: 500, per_host: 8, in_flight: 8, robots: false}\n"
        )
        yield case
