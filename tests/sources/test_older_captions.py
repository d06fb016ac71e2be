"""A new version of the captions' cleaner makes captions anew, and asks no host for a picture that is there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from minimagen.config import CaptionRules
from minimagen.rows import Rejection
from minimagen.shards import find_report
from minimagen.sources import candidates, older_captions, remote, remote_rows
from minimagen.sources.captions import accept_caption
from tests.simulators.pictures import PictureHost
from tests.simulators.server import Site, running_site
from tests.sources.remote_case import Case, candidate

KINDS = ["ok/1", "ok/2", "ok/3", "status/404/4", "flat/5", "same/6/6", "same/6/7", "ok/short"]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_site(PictureHost()) as running:
        monkeypatch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", "{}:{}".format(*running.address))
        yield running


def other_cleaner(raw: str, rules: CaptionRules) -> str | Rejection:
    return "was too short" if raw == "x" else accept_caption(raw.upper(), rules)


def newer(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (candidates, older_captions):
        monkeypatch.setattr(module, "CLEANER_VERSION", "3")
    monkeypatch.setattr(remote_rows, "accept_caption", other_cleaner)


def test_captions_are_made_anew_and_only_what_is_not_known_is_asked_for(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(tmp_path)
    rows = [candidate(kind, f"{site.url}/img/{kind}.png", ["x" if "short" in kind else f"of {kind}"]) for kind in KINDS]
    [job] = case.plan(rows)
    remote.run(job, folder=case.folder, state=case.state)
    first = case.rows(job)
    site.requests.clear()

    newer(case, monkeypatch)
    [again] = case.plan(rows)
    assert find_report(case.folder, again) is None
    report = remote.run(again, folder=case.folder, state=case.state)

    assert sorted(request.path for request in site.requests) == ["/img/ok/short.png", "/img/same/6/7.png"]
    assert (report.stored, report.rejected) == (5, {"duplicate": 1, "flat": 1, "http_404": 1})
    later = case.rows(again)
    assert [row.text for row in later] == [*(row.text.upper() for row in first), "was too short"]
    assert [row.image_bytes for row in later[:-1]] == [row.image_bytes for row in first]


def test_the_shard_is_the_one_that_a_first_run_with_that_cleaner_makes(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = Case(tmp_path / "old"), Case(tmp_path / "new")
    rows = [candidate(kind, f"{site.url}/img/{kind}.png", ["x" if "short" in kind else f"of {kind}"]) for kind in KINDS]
    [job] = old.plan(rows)
    remote.run(job, folder=old.folder, state=old.state)

    newer(old, monkeypatch)
    for case in (old, new):
        [job] = case.plan(rows)
        remote.run(job, folder=case.folder, state=case.state)

    assert old.files() == new.files()
