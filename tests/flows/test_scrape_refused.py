"""What a service or the parameters refuse ends a run in one line, and no key is written down anywhere."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect import flow, get_run_logger

from flows.scrape_tmdb import scrape_tmdb
from flows.told import tells_errors
from tests.flows.runs import all_rows, log_of, states_of_tasks
from tests.flows.sources_project import environment_of, services, write_sources_project
from tests.simulators.server import Site, running_site

pytestmark = pytest.mark.usefixtures("prefect_server")
CANARY = "eyJhbGciOi.canary-that-nobody-may-see.x1y2z3"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A project that asks a TMDB which accepts another token than ours."""
    tmdb, _, captions = services()
    with running_site(tmdb) as site:
        write_sources_project(tmp_path, site, captions)
        for name, value in environment_of(site, tmdb).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("TMDB_TOKEN", CANARY)
        monkeypatch.chdir(tmp_path)
        yield site


def test_a_missing_key_is_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMDB_TOKEN")

    state = scrape_tmdb(return_state=True)

    assert state.is_failed()
    assert str(state.message).startswith("environment: TMDB_TOKEN is not set; ")
    assert "\n" not in str(state.message)
    assert "Traceback" not in log_of(state, until="Finished in state Failed")
    assert not site.requests


def test_without_permission_nothing_is_asked(site: Site, tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(
        params.read_text().replace('"i_have_written_permission": true', '"i_have_written_permission": false')
    )

    state = scrape_tmdb(return_state=True)

    assert state.is_failed()
    assert str(state.message).startswith("params.yaml: ingest.tmdb.i_have_written_permission is false: ")
    assert not site.requests


def test_a_refused_key_is_told_once_and_written_down_nowhere(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    state = scrape_tmdb(return_state=True)

    assert state.is_failed()
    assert "status 401" in str(state.message) and "TMDB_TOKEN was refused" in str(state.message)
    assert "\n" not in str(state.message)
    assert any(CANARY in request.headers.get("authorization", "") for request in site.requests)
    assert states_of_tasks(state, 1) == [("plan", "Failed")]  # and not tried again
    said = log_of(state, until="Finished in state Failed")
    assert "was refused" in said
    rows = all_rows()
    assert any("was refused" in row for row in rows)
    assert not [row for row in rows if CANARY in row]
    assert CANARY not in "".join(capfd.readouterr())


def test_what_a_library_logs_of_a_key_is_hidden(site: Site) -> None:
    @flow
    @tells_errors
    def leaky() -> None:
        get_run_logger().warning("the header was Bearer %s", CANARY)

    assert "the header was Bearer [hidden]" in log_of(leaky(return_state=True), until="Finished in state")
    assert not [row for row in all_rows() if CANARY in row]
