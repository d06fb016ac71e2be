import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minimagen.errors import UserError
from minimagen.files import sha256_bytes
from minimagen.rows import snapshot_instant
from minimagen.shards import ShardJob, ShardReport, shard_path
from minimagen.sources import remote
from minimagen.sources.candidates import candidates_path
from tests.simulators.pictures import PictureHost, picture_file, picture_pixels
from tests.simulators.server import Site, running_site
from tests.sources.remote_case import Case, adds_up, candidate


@pytest.fixture
def host() -> PictureHost:
    return PictureHost()


@pytest.fixture
def site(host: PictureHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_site(host) as running:
        monkeypatch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", "{}:{}".format(*running.address))
        yield running


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def run(case: Case, job: ShardJob) -> ShardReport:
    return remote.run(job, folder=case.folder, state=case.state)


def test_a_picture_is_stored_with_all_that_its_candidate_says(case: Case, site: Site) -> None:
    url = f"{site.url}/img/ok/cat.png"
    [job] = case.plan([candidate("1", url, ["<b>a</b> cat .", "x", "another caption"])])

    report = run(case, job)

    [row] = case.rows(job)
    assert (report.stored, report.rejected, report.pending, report.was_done) == (1, {}, 0, False)
    assert (row.key, row.source, row.source_url, row.page_url) == ("web:1", "web", url, "http://pages.example/1")
    assert (row.text, row.text_raw, row.captions) == ("a cat.", "<b>a</b> cat .", ("a cat.", "another caption"))
    assert (row.license, row.adult, row.lang, row.fetched_at) == ("CC0", False, "en", snapshot_instant("2026-11-01"))
    assert json.loads(row.extra) == {"captions_dropped": {"caption_too_short": 1}}
    with Image.open(io.BytesIO(row.image_bytes)) as picture:
        np.testing.assert_array_equal(np.asarray(picture), picture_pixels("ok", "cat.png"))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("status/404/a.png", "http_404"),
        ("status/410/a.png", "http_410"),
        ("status/403/a.png", "http_403"),
        ("status/451/a.png", "http_4xx"),
        ("html/a.jpg", "not_an_image"),
        ("cut/a.png", "undecodable"),
        ("noai/a.png", "opted_out"),
        ("reserved/a.png", "opted_out"),
        ("tiny/a.png", "too_small"),
        ("flat/a.png", "flat"),
        ("long/a.png", "extreme_aspect"),
        ("loop/a.png", "too_many_redirects"),
        ("away/a.png", "blocked_address"),
    ],
)
def test_what_cannot_be_stored_has_a_reason(case: Case, site: Site, path: str, reason: str) -> None:
    [job] = case.plan([candidate("1", f"{site.url}/img/{path}"), candidate("2", f"{site.url}/img/ok/b.png")])

    report = run(case, job)

    assert case.reasons(job) == {"web:1": reason}
    assert report.rejected == {reason: 1} and adds_up(report, 2)


@pytest.mark.parametrize("path", ["typed/a.webp", "turned/a.png", "redirect/2/a.gif", "flaky/2/a.jpg", "ok/a.webp"])
def test_what_can_be_stored_is_stored(case: Case, site: Site, path: str) -> None:
    [job] = case.plan([candidate("1", f"{site.url}/img/{path}")])

    assert run(case, job).stored == 1


def test_rows_stand_in_the_order_of_their_candidates(case: Case, site: Site) -> None:
    waits = ["0.2", "0", "0.1", "0"]
    [job] = case.plan([candidate(str(n), f"{site.url}/img/slow/{wait}/{n}.png") for n, wait in enumerate(waits)])

    run(case, job)

    assert [row.key for row in case.rows(job)] == ["web:0", "web:1", "web:2", "web:3"]


def test_a_candidate_that_was_rejected_when_listed_is_never_asked_for(
    case: Case, site: Site, host: PictureHost
) -> None:
    [job] = case.plan([candidate("1", f"{site.url}/img/ok/a.png", reason="adult")])

    report = run(case, job)

    assert case.reasons(job) == {"web:1": "adult"} and adds_up(report, 1)
    assert not host.num_requests


@pytest.mark.parametrize(
    ("captions", "reason"), [([], "no_caption"), (["x"], "caption_too_short"), (["y" * 101, "x"], "caption_too_long")]
)
def test_without_a_caption_that_passes_the_picture_is_not_asked_for(
    case: Case, site: Site, host: PictureHost, captions: list[str], reason: str
) -> None:
    [job] = case.plan([candidate("1", f"{site.url}/img/ok/a.png", captions)])

    assert run(case, job).rejected == {reason: 1}
    assert not host.num_requests


def test_an_address_that_stands_twice_is_asked_for_once(case: Case, site: Site, host: PictureHost) -> None:
    url = f"{site.url}/img/ok/a.png"
    [job] = case.plan([candidate("1", url), candidate("2", url), candidate("3", url, ["x"])])

    report = run(case, job)

    assert case.reasons(job) == {"web:2": "duplicate", "web:3": "caption_too_short"} and adds_up(report, 3)
    assert host.num_requests == {"/img/ok/a.png": 1}


def test_the_same_file_at_several_addresses_is_stored_once_for_the_first_row(case: Case, site: Site) -> None:
    urls = [f"{site.url}/img/{path}" for path in ("slow/0.2/x.png", "same/7/a.png", "same/7/b.png", "same/8/c.png")]
    [job] = case.plan([candidate(str(number), url) for number, url in enumerate(urls)])

    report = run(case, job)

    assert [row.key for row in case.rows(job)] == ["web:0", "web:1", "web:3"]
    assert case.reasons(job) == {"web:2": "duplicate"} and adds_up(report, 4)


def test_a_row_that_is_not_stored_makes_no_duplicate(case: Case, site: Site) -> None:
    url = f"{site.url}/img/same/7/a.png"
    [job] = case.plan([candidate("1", url, ["x"]), candidate("2", f"{site.url}/img/same/7/b.png")])

    run(case, job)

    assert [row.key for row in case.rows(job)] == ["web:2"]


def test_pictures_of_a_host_that_wants_to_be_left_alone_stay_pending_and_are_asked_for_again(
    case: Case, site: Site, host: PictureHost
) -> None:
    urls = [f"{site.url}/img/ok/a.png", f"{site.url}/img/later/9999/b.png"]
    [job] = case.plan([candidate(str(number), url) for number, url in enumerate(urls)], per_host=1, in_flight=1)

    first, spools = run(case, job), case.spools()
    second = run(case, job)

    assert (first.stored, first.pending) == (1, 1) and adds_up(first, 2)
    assert (second.stored, second.pending, second.was_done) == (1, 1, False)
    assert spools and host.num_requests["/img/ok/a.png"] == 1


def test_when_the_host_is_back_the_shard_is_as_if_it_had_never_been_away(
    case: Case, site: Site, host: PictureHost, tmp_path: Path
) -> None:
    candidates = [candidate(str(number), f"{site.url}/img/ok/{number}.png") for number in range(6)]
    [job] = case.plan(candidates, per_host=1, in_flight=1)
    undisturbed = Case(tmp_path / "undisturbed")
    run(undisturbed, undisturbed.plan(candidates)[0])

    host.closes_after = host.num_requests.total() + 3
    disturbed = run(case, job)
    host.closes_after = None
    shutil.rmtree(case.state.parent / "hosts")  # hours pass
    num_before = host.num_requests.total()
    whole = run(case, job)

    assert (disturbed.stored, disturbed.pending, whole.pending) == (3, 3, 0) and adds_up(disturbed, 6)
    assert host.num_requests.total() - num_before == 3
    assert case.files() == undisturbed.files() and not case.spools()


def test_a_shard_that_is_done_asks_nothing(case: Case, site: Site, host: PictureHost) -> None:
    [job] = case.plan([candidate("1", f"{site.url}/img/ok/a.png"), candidate("2", f"{site.url}/img/status/404/b.png")])
    run(case, job)

    again = run(case, job)

    assert again.was_done and (again.stored, again.rejected) == (1, {"http_404": 1})
    assert host.num_requests.total() == 2 and not case.spools()


def test_other_limits_in_the_service_file_change_nothing(case: Case, site: Site, host: PictureHost) -> None:
    candidates = [candidate("1", f"{site.url}/img/ok/a.png")]
    [job] = case.plan(candidates)
    run(case, job)

    [slower] = case.plan(candidates, requests_per_s=1)

    assert run(case, slower).was_done and host.num_requests.total() == 1


def test_a_candidate_file_that_was_changed_is_named(case: Case, site: Site) -> None:
    [job] = case.plan([candidate("1", f"{site.url}/img/ok/a.png")])
    path = candidates_path(case.folder, job.name)
    path.write_bytes(path.read_bytes() + b"x")

    with pytest.raises(UserError, match=str(path)):
        run(case, job)


def test_a_wrong_service_file_is_named_with_key_and_value(case: Case, site: Site) -> None:
    [job] = case.plan([candidate("1", f"{site.url}/img/ok/a.png")], per_host=0)

    with pytest.raises(UserError, match=r"web\.yaml: per_host: .*0"):
        run(case, job)


def test_spools_that_no_job_needs_are_removed(case: Case, site: Site) -> None:
    [job] = case.plan([candidate("1", f"{site.url}/img/ok/a.png")])
    run(case, job)
    for name in (f"{job.name}.spool", f"{job.name}.spool-notes", "2025-01-01-00000.spool", "unfinished-00001.spool"):
        (case.state / "spool" / name).touch()
    unfinished = ShardJob(job.source, "unfinished-00001", job.spec)

    remote.remove_old_spools([job, unfinished], folder=case.folder, state=case.state)

    assert [path.name for path in case.spools()] == ["unfinished-00001.spool"]


def test_a_table_of_addresses_is_read_with_careful_limits(case: Case, site: Site, host: PictureHost) -> None:
    [job] = case.plan([candidate("1", f"{site.url}/img/ok/a.png")])
    table = ShardJob(job.source, job.name, json.dumps(json.loads(job.spec) | {"reads": str(case.root / "mine.csv")}))

    report = run(case, table)

    assert report.stored == 1 and site.requests[0].path == "/robots.txt"


def test_the_shard_opens_as_parquet_with_its_pictures(case: Case, site: Site) -> None:
    [job] = case.plan([candidate("1", f"{site.url}/img/ok/a.jpg")])

    run(case, job)

    [row] = case.rows(job)
    assert row.image_bytes and row.sha256 and shard_path(case.folder, job.name).stat().st_size > len(row.image_bytes)
    assert row.sha256 == sha256_bytes(picture_file("ok", "a.jpg", "jpg"))
