"""The flows of the four remote sources beside the stage ingest, each asked at simulated services."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from prefect.client.schemas.objects import State

from flows.download_conceptual_captions import download_conceptual_captions
from flows.download_manifest import download_manifest
from flows.scrape_anime import scrape_anime
from flows.scrape_tmdb import scrape_tmdb
from minimagen.errors import BusyError, UserError
from minimagen.stages.ingest import ingest_lock
from tests.flows.runs import artifacts_of, log_of, states_of_tasks
from tests.flows.sources_project import (
    NUM_ROWS,
    dvc_repro,
    environment_of,
    ingest,
    raw,
    services,
    write_sources_project,
)
from tests.simulators.server import Site, running_site
from tests.simulators.tmdb import Tmdb

pytestmark = pytest.mark.usefixtures("prefect_server")
FLOWS: Mapping[str, Callable[..., State[Mapping[str, int]]]] = {
    "tmdb": scrape_tmdb,
    "anime": scrape_anime,
    "conceptual_captions": download_conceptual_captions,
    "manifest": download_manifest,
}
NUM_SHARDS = 20


@pytest.fixture
def tmdb() -> Tmdb:
    return services()[0]


@pytest.fixture
def site(tmdb: Tmdb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """All services on one port, and two projects that ask them: ``by_flow``, where tests work, and ``by_stage``."""
    _, anime, captions = services()
    with running_site(tmdb, anime, captions) as site:
        # Quotes are few an hour, whoever asks: the second project would get none.
        changes = {"manifest": {"shard_rows": NUM_ROWS // NUM_SHARDS}, "anime": {"quotes": False}}
        for name in ("by_flow", "by_stage"):
            write_sources_project(tmp_path / name, site, captions, changes)
        for name, value in environment_of(site, tmdb).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("MINIMAGEN_PROCESSES", "1")
        monkeypatch.chdir(tmp_path / "by_flow")
        yield site


@pytest.mark.parametrize("source", FLOWS)
def test_a_flow_leaves_the_bytes_of_the_stage_and_the_stage_asks_for_nothing(
    source: str, site: Site, tmp_path: Path
) -> None:
    counts = FLOWS[source](workers=2, return_state=True).result()
    by_flow, num_requests = raw(tmp_path / "by_flow", source), len(site.requests)

    assert ingest(tmp_path / "by_flow", source) == by_flow
    assert len(site.requests) == num_requests > 0
    assert ingest(tmp_path / "by_stage", source) == by_flow
    assert counts["stored"] >= 30 and not counts["pending"]


@pytest.mark.long
@pytest.mark.parametrize("runner", ["threads", "dask"])
def test_twenty_shards_are_the_same_whoever_makes_them(runner: str, site: Site, tmp_path: Path) -> None:
    expected = ingest(tmp_path / "by_stage", "manifest")

    state = download_manifest(runner=runner, workers=2, return_state=True)

    assert raw(tmp_path / "by_flow", "manifest") == expected
    tasks = states_of_tasks(state, NUM_SHARDS + 1)
    assert len(tasks) == NUM_SHARDS + 1 and {ended for _, ended in tasks} == {"Completed"}


def test_dvc_repro_after_a_flow_records_and_asks_for_nothing(site: Site, tmp_path: Path) -> None:
    scrape_anime(workers=2)
    by_flow, num_requests = raw(tmp_path / "by_flow", "anime"), len(site.requests)

    told = dvc_repro(tmp_path / "by_flow", "ingest@anime")

    assert "Running stage 'ingest@anime'" in told and "done before" in told
    assert "0 read now" in told
    assert len(site.requests) == num_requests
    assert raw(tmp_path / "by_flow", "anime") == by_flow
    assert "path: data/raw/anime" in (tmp_path / "by_flow/dvc.lock").read_text()


def test_a_flow_after_a_flow_starts_no_worker_and_shows_the_same_table(site: Site) -> None:
    first = download_manifest(return_state=True)
    num_requests = len(site.requests)

    again = download_manifest(runner="dask", return_state=True)

    assert again.result() == first.result()
    assert len(site.requests) == num_requests
    assert states_of_tasks(again, 1) == [("plan", "Completed")]
    tables = [[each.data for each in artifacts_of(state) if each.type == "table"] for state in (first, again)]
    assert tables[0] == tables[1] != []


def test_outcomes_by_reason_are_a_table_and_progress_an_artifact(site: Site) -> None:
    state = download_manifest(return_state=True)

    counts, found = state.result(), {each.type: each for each in artifacts_of(state)}
    assert found["table"].key == "outcomes-manifest"
    table = {row["outcome"]: row["rows"] for row in json.loads(str(found["table"].data))}
    assert table == dict(counts) and list(table)[:3] == ["requested", "stored", "pending"]
    assert float(str(found["progress"].data)) == 100.0
    assert found["progress"].description == f"manifest: {NUM_SHARDS} of {NUM_SHARDS} shards"
    assert f"{NUM_SHARDS}/{NUM_SHARDS} " in log_of(state, until="rows = ")


def test_a_source_that_is_being_read_is_left_alone(site: Site, tmp_path: Path) -> None:
    with ingest_lock("anime", tmp_path / "by_flow"):
        state = scrape_anime(return_state=True)

    assert state.is_failed() and "anime.lock: held by process" in str(state.message)
    with pytest.raises(BusyError):
        state.result()
    assert not site.requests


def test_too_few_rows_fail_the_run_after_all_is_recorded_and_shown(site: Site, tmp_path: Path) -> None:
    params = tmp_path / "by_flow/params.yaml"
    params.write_text(params.read_text().replace('"min_success": 0.3', '"min_success": 0.99'))

    state = download_conceptual_captions(return_state=True)

    assert state.is_failed() and "min_success in params.yaml asks for 99.0%" in str(state.message)
    assert any(each.key == "outcomes-conceptual-captions" for each in artifacts_of(state))
    assert (tmp_path / "by_flow/data/raw/conceptual_captions/manifest.json").exists()


def test_a_source_that_is_not_listed_is_named(site: Site, tmp_path: Path, checkout: Path) -> None:
    (tmp_path / "by_flow/params.yaml").write_text((checkout / "experiments/demo.yaml").read_text())

    state = scrape_tmdb(return_state=True)

    assert state.message == "params.yaml: sources: 'tmdb' is not listed; known: scenes"
    with pytest.raises(UserError):
        state.result()
