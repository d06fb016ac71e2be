"""The stage ingest with the sources of the network, each asked at a simulated service."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from minimagen.config import Params
from minimagen.errors import UserError
from minimagen.manifest import read_manifest
from minimagen.stages.ingest import run_ingest
from scripts.demo_sources import params_of, write_services
from tests.contents import files_below
from tests.simulators.anime import Anime
from tests.simulators.conceptual_captions import ConceptualCaptions
from tests.simulators.server import Site, running_site
from tests.simulators.tmdb import START, Tmdb

SOURCES = ("tmdb", "anime", "conceptual_captions", "manifest")


@pytest.fixture
def tmdb() -> Tmdb:
    """A small TMDB."""
    return Tmdb(num_films=150)


@pytest.fixture
def site(tmdb: Tmdb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """All services on one port, and the project's service files that name it."""
    captions = ConceptualCaptions(num_rows={"cc3m_train": 120, "cc12m_train": 60}, slow_s=0.0)
    with running_site(tmdb, Anime(num_titles=60), captions) as site:
        write_services(tmp_path, site, captions, num_rows=60)
        monkeypatch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", f"127.0.0.1:{site.address[1]},127.0.0.1:9")
        monkeypatch.setenv("MINIMAGEN_PROCESSES", "1")
        monkeypatch.setenv("TMDB_TOKEN", tmdb.token)
        yield site


def params_on(days: int, *, min_success: float = 0.3) -> Params:
    """Returns the demo's parameters on some day."""
    return params_of((START + timedelta(days=days)).isoformat(), min_success=min_success)


@pytest.mark.parametrize("source", SOURCES)
def test_every_row_of_a_source_has_an_outcome_and_nothing_is_asked_twice(
    source: str, site: Site, tmp_path: Path
) -> None:
    run_ingest(params_on(0), source, tmp_path)
    first, num_requests = files_below(tmp_path / "data/raw" / source), len(site.requests)

    run_ingest(params_on(0), source, tmp_path)

    counts = dict(read_manifest(tmp_path / "data/raw" / source).counts)
    assert counts.pop("requested") == sum(counts.values())
    assert counts["stored"] >= 30 and not counts["pending"]
    assert num_requests > 0 and len(site.requests) == num_requests
    assert files_below(tmp_path / "data/raw" / source) == first
    assert not list((tmp_path / "runs/ingest" / source / "spool").iterdir())
    assert not list(tmp_path.rglob("*.tmp-*"))


def test_a_later_snapshot_asks_for_what_is_new_and_leaves_the_rest(site: Site, tmdb: Tmdb, tmp_path: Path) -> None:
    run_ingest(params_on(0), "tmdb", tmp_path)
    first, num_first = files_below(tmp_path / "data/raw/tmdb"), len(site.requests)
    tmdb.advance(days=3)

    run_ingest(params_on(3), "tmdb", tmp_path)

    later = files_below(tmp_path / "data/raw/tmdb")
    assert {name: later.get(name) for name in first if "manifest" not in name} == {
        name: content for name, content in first.items() if "manifest" not in name
    }
    assert any(name.startswith("shards/2026-10-04") for name in later)
    assert 0 < len(site.requests) - num_first < num_first


def test_going_back_to_a_snapshot_leaves_what_it_had(site: Site, tmdb: Tmdb, tmp_path: Path) -> None:
    run_ingest(params_on(0), "tmdb", tmp_path)
    first = files_below(tmp_path / "data/raw/tmdb")
    tmdb.advance(days=3)
    run_ingest(params_on(3), "tmdb", tmp_path)
    num_requests = len(site.requests)

    run_ingest(params_on(0), "tmdb", tmp_path)

    assert files_below(tmp_path / "data/raw/tmdb") == first
    assert len(site.requests) == num_requests


def test_other_parameters_start_afresh(site: Site, tmp_path: Path) -> None:
    run_ingest(params_on(0), "manifest", tmp_path)
    params = params_on(0)
    changed = params.ingest.manifest.model_copy(update={"shard_rows": 25}) if params.ingest.manifest else None

    run_ingest(
        params.model_copy(update={"ingest": params.ingest.model_copy(update={"manifest": changed})}),
        "manifest",
        tmp_path,
    )

    manifest = read_manifest(tmp_path / "data/raw/manifest")
    assert [shard.file for shard in manifest.shards] == [
        f"shards/2026-10-01-{number:05d}.parquet" for number in (0, 1, 2)
    ]
    assert len(list((tmp_path / "data/raw/manifest/plan").glob("*.parquet"))) == 3


def test_too_few_pictures_are_told_after_all_is_recorded(site: Site, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"fetched rows stored, .*min_success in params.yaml asks for 95.0%"):
        run_ingest(params_on(0, min_success=0.95), "conceptual_captions", tmp_path)

    assert read_manifest(tmp_path / "data/raw/conceptual_captions").counts["stored"] >= 30


def test_what_is_not_fetched_does_not_count_as_missed(site: Site, tmp_path: Path) -> None:
    run_ingest(params_on(0, min_success=0.95), "anime", tmp_path)

    counts = read_manifest(tmp_path / "data/raw/anime").counts
    assert counts["stored"] < 0.7 * counts["requested"]
