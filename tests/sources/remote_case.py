"""Small plans of candidates, and a service file, for tests of what fetches them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from minimagen.config import CaptionRules, ImageRules
from minimagen.rows import Row
from minimagen.shards import ShardJob, ShardReport, failures_path, iter_rows, shard_path
from minimagen.sources.candidates import Candidate, jobs_of, write_plan

RULES = ImageRules(
    store_size=32,
    min_side=8,
    max_aspect=4.0,
    max_pixels=16_000_000,
    min_std=2.0,
    animated="first_frame",
    encoding="png",
)
CAPTION_RULES = CaptionRules(min_chars=3, max_chars=100)


@dataclass(frozen=True, slots=True)
class Case:
    """Where a source stands in a test."""

    root: Path

    @property
    def folder(self) -> Path:
        """What data/raw/<source> is."""
        return self.root / "data" / "raw" / "web"

    @property
    def state(self) -> Path:
        """What runs/ingest/<source> is."""
        return self.root / "runs" / "ingest" / "web"

    @property
    def services(self) -> Path:
        """The service file."""
        return self.root / "web.yaml"

    def plan(
        self, candidates: Iterable[Candidate], *, shard_rows: int = 1000, max_bytes: int = 1_000_000, **hosts: object
    ) -> list[ShardJob]:
        """Writes candidates and service file, and returns the jobs.

        Args:
            hosts: of the section ``images``, beside what makes tests quick.
        """
        limits = {"requests_per_s": 100_000, "per_host": 8, "in_flight": 8, "robots": "false"} | hosts
        self.root.mkdir(exist_ok=True)
        self.services.write_text("images: {" + ", ".join(f"{key}: {value}" for key, value in limits.items()) + "}\n")
        config = {
            "max_bytes": max_bytes,
            "images": RULES.model_dump(mode="json"),
            "captions": CAPTION_RULES.model_dump(mode="json"),
        }
        plan = write_plan(
            self.folder, "2026-11-01", config, candidates, shard_rows=shard_rows, after=None, watermark={}
        )
        return jobs_of(self.folder, plan, "web", self.services)

    def rows(self, job: ShardJob) -> list[Row]:
        """Returns what a job stored."""
        return list(iter_rows(shard_path(self.folder, job.name)))

    def reasons(self, job: ShardJob) -> dict[str, str]:
        """Returns why keys of a job were rejected."""
        table = pq.read_table(failures_path(self.folder, job.name))
        return dict(zip(table["key"].to_pylist(), table["reason"].to_pylist(), strict=True))

    def files(self) -> dict[str, bytes]:
        """Returns everything below the source's folder."""
        paths = [path for path in self.folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in paths}

    def spools(self) -> list[Path]:
        """Returns what is left of spools."""
        return sorted((self.state / "spool").glob("*"))


def candidate(key: str, url: str, captions: Sequence[str] = ("a picture of something",), reason: str = "") -> Candidate:
    """Returns a candidate with what most tests do not care about."""
    return Candidate(
        key=f"web:{key}",
        url=url,
        captions=tuple(captions),
        page_url="http://pages.example/1",
        license="CC0",
        adult=False,
        lang="en",
        reason=reason,
    )


def adds_up(report: ShardReport, num_requested: int) -> bool:
    """Returns whether every requested row has an outcome."""
    return report.stored + sum(report.rejected.values()) + report.pending == num_requested
