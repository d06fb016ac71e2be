import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from minimagen.errors import UserError
from minimagen.shards import ShardJob, iter_rows, shard_path
from minimagen.sources import anime, remote
from minimagen.sources.anime import first_paragraph, poster_of
from minimagen.sources.candidates import candidates_path, read_plan, write_plan
from minimagen.sources.kitsu import Title
from minimagen.sources.request_budget import HOUR_S
from minimagen.sources.tombstones import Graves, with_keys, write_graves
from tests.sources.anime_services import Case, config_of, running_case


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    """Sixty titles."""
    with running_case(tmp_path, monkeypatch) as running:
        yield running


def test_every_title_of_the_catalogue_has_an_outcome(case: Case) -> None:
    found = case.candidates(case.plan())

    reasons = Counter(candidate.reason for candidate in found)
    assert reasons == {"": 36, "adult": 6, "age_unknown": 6, "no_poster": 6, "no_caption": 6}
    assert {one.key for one in found} == {f"kitsu:{entry.id}" for entry in case.services.entries}
    assert {one.key for one in found if not one.reason} == {f"kitsu:{one.id}" for one in case.services.good_entries()}
    assert all(one.adult == (one.reason in ("adult", "age_unknown")) for one in found)


def test_posters_become_rows_with_the_first_paragraph_as_caption(case: Case) -> None:
    jobs = case.plan(synopsis=True, quotes=True)
    reports = [remote.run(job, folder=case.folder, state=case.state) for job in jobs]

    rows = [row for job in jobs for row in iter_rows(shard_path(case.folder, job.name))]
    assert [report.pending for report in reports] == [0, 0, 0]
    assert [row.key for row in rows] == [one.key for one in case.candidates(jobs) if not one.reason]
    entry, row = case.services.good_entries()[0], rows[0]
    colour, shape, place, ground = entry.look
    assert row.text == f"A {colour} {shape} at the {place} of a {ground} poster."
    assert row.captions[1] == f"No. 0 Every {colour} {shape} casts a shadow."
    assert (row.orig_width, row.orig_height, row.source, row.lang, row.adult) == (110, 156, "anime", "en", False)
    assert row.page_url == f"https://kitsu.app/anime/{entry.id}" and "store privately" in row.license
    assert json.loads(row.extra)["title"] == entry.name


def test_a_plan_that_stands_asks_for_nothing(case: Case) -> None:
    jobs = case.plan()
    case.site.requests.clear()

    assert case.plan() == jobs
    assert case.site.requests == []
    assert not (case.state / "listing").exists()


def test_pages_are_asked_for_by_offset_whatever_next_says(case: Case) -> None:
    case.plan()

    pages = [query["page[offset]"] for query in case.asked("/api/edge/anime") if query["page[limit]"] == "20"]
    assert pages == ["0", "20", "40"]


def test_the_most_watched_titles_come_first_if_not_all_are_wanted(case: Case) -> None:
    found = case.candidates(case.plan(max_titles=25))

    watched = {f"kitsu:{entry.id}": entry.watched for entry in case.services.entries}
    assert [watched[one.key] for one in found] == sorted(watched.values(), reverse=True)[:25]


def test_a_later_snapshot_lists_what_is_new_and_stops_at_the_watermark(case: Case) -> None:
    first = case.plan("s1")
    case.services.add(3)
    case.services.touch("1007")
    case.site.requests.clear()

    second = case.plan("s2")

    assert second[: len(first)] == first
    assert [one.key for one in case.candidates(second[len(first) :])] == ["kitsu:1434", "kitsu:1427", "kitsu:1420"]
    assert [query["sort"] for query in case.asked("/api/edge/anime")] == ["-updatedAt", "-updatedAt"]


def test_what_does_not_fit_into_a_snapshot_is_not_lost(case: Case) -> None:
    case.plan("s1", max_titles=10)
    case.services.add(25)

    sizes = [len(case.candidates(case.plan(snapshot, max_titles=10))) for snapshot in ("s2", "s3", "s4", "s5")]

    assert sizes == [20, 30, 36, 36]  # with the newest update that the first snapshot had no room for
    keys = {one.key for one in case.candidates(case.plan("s5", max_titles=10))}
    assert keys >= {f"kitsu:{entry.id}" for entry in case.services.entries[60:]}


def test_a_listing_that_was_stopped_goes_on_where_it_stopped(case: Case) -> None:
    case.services.refused_from = 40
    with pytest.raises(ValueError, match=r"/api/edge/anime: status 403: Not for you"):
        case.plan()
    case.services.refused_from = None
    case.site.requests.clear()

    jobs = case.plan()

    assert len(case.candidates(jobs)) == 60
    assert [query["page[offset]"] for query in case.asked("/api/edge/anime")] == ["40"]


def test_a_snapshot_without_anything_new_adds_no_shard(case: Case) -> None:
    first = case.plan("s1")

    assert case.plan("s2") == first


def test_busy_answers_with_a_number_as_status_are_waited_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_case(tmp_path, monkeypatch, busy_every=2) as case:
        assert len(case.candidates(case.plan())) == 60


def test_only_the_wanted_kinds_are_asked_for(case: Case) -> None:
    found = case.candidates(case.plan(subtypes=["movie", "OVA"]))

    expected = [entry for entry in case.services.entries if entry.subtype in ("movie", "OVA")]
    assert len(found) == len(expected) == 3
    assert {json.loads(one.extra)["subtype"] for one in found} == {"movie", "OVA"}


def test_titles_lost_between_pages_are_told(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    case.services.entries[30:32] = [case.services.entries[3]] * 2  # listed again, in the place of two others

    with caplog.at_level(logging.WARNING):
        case.plan()

    assert "58 titles listed of 60" in caplog.text


def test_a_spin_off_keeps_its_quotes_to_itself(case: Case) -> None:
    found = case.candidates(case.plan(quotes=True))

    quoted = [caption for one in found for caption in one.captions if caption.startswith(("No.", "I am not"))]
    assert len(quoted) == 6 * 4  # five pages of five, one quote of each a spin-off's; one title has a sequel
    assert not any(caption.startswith("I am not") for caption in quoted)


def test_a_sequel_has_the_quotes_of_its_parent(case: Case) -> None:
    found = {one.key: one for one in case.candidates(case.plan(quotes=True))}

    parent, sequel = case.services.entries[5:7]
    assert sequel.name == f"{parent.name} Season 2"
    assert found[f"kitsu:{sequel.id}"].captions[1:] == found[f"kitsu:{parent.id}"].captions != ()


def test_a_title_with_quotes_alone_has_a_caption(case: Case) -> None:
    found = case.candidates(case.plan(quotes=True, synopsis=False))

    captions = [one.captions for one in found if not one.reason]
    assert [len(quotes) for quotes in captions] == [4] * 6
    assert sum(one.reason == "no_caption" for one in found) == 42 - 6


def test_quotes_that_become_known_later_make_further_rows_of_the_same_posters(case: Case) -> None:
    first = case.plan("s1", quotes=True, max_quote_requests=2)
    case.clock.sleep(HOUR_S)
    second = case.plan("s2", quotes=True, max_quote_requests=2)

    before = {one.key: one for one in case.candidates(first)}
    later = case.candidates(second[len(first) :])
    assert second[: len(first)] == first and len(later) >= 2
    for one in later:
        listed = before[one.key.removesuffix("#s2")]
        assert one.captions and not set(one.captions) & set(listed.captions)
        assert (one.url, one.page_url, one.adult, one.reason) == (listed.url, listed.page_url, False, "")
        assert json.loads(one.extra)["num_quotes"] == len(one.captions)
    assert case.plan("s3", quotes=True, max_quote_requests=2)[: len(second)] == second


def test_a_plan_of_an_older_version_is_named_with_what_it_lacks(case: Case) -> None:
    older = [replace(one, extra='{"title": "An invented one"}') for one in case.candidates(case.plan(quotes=True))]
    newer = read_plan(case.folder, "s1")
    assert newer is not None
    plan = write_plan(case.folder, "s1", newer.config, older, shard_rows=1000, after=None, watermark=newer.watermark)
    case.site.requests.clear()

    with pytest.raises(UserError) as caught:
        case.plan("s2", quotes=True)

    path = candidates_path(case.folder, plan.files[0].name)
    assert str(caught.value).startswith(f"{path}: {older[0].key}: the column extra lacks the key 'names'")
    assert f"Delete {case.folder}" in str(caught.value) and not case.site.requests


def test_a_purged_title_gets_no_row_of_later_quotes(case: Case) -> None:
    first = case.plan("s1", quotes=True, max_quote_requests=2)
    case.clock.sleep(HOUR_S)
    wanted = [one.key for one in case.candidates(first) if one.reason in ("", "no_caption")]
    write_graves(case.folder, with_keys(Graves({}, None), "s0", "too_old", wanted))

    assert case.plan("s2", quotes=True, max_quote_requests=2) == first


def test_in_the_end_every_title_has_all_its_quotes_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_case(tmp_path, monkeypatch, num_titles=10) as case:
        jobs: list[ShardJob] = []
        for number in range(5):
            jobs = case.plan(f"s{number}", quotes=True, synopsis=False)
            case.clock.sleep(HOUR_S)
        told: dict[str, list[str]] = {}
        for one in case.candidates(jobs):
            told.setdefault(one.key.partition("#")[0], []).extend(one.captions)
        decent = [one for one in case.services.entries if one.rating in ("G", "PG", "R") and one.has_poster]

    assert {len(told[f"kitsu:{one.id}"]) for one in decent if not one.name.endswith("Season 2")} == {7}
    assert all(len(captions) == len(set(captions)) for captions in told.values())


def test_a_malformed_title_is_an_outcome_that_names_the_field(case: Case) -> None:
    case.services.entries[0] = replace(case.services.entries[0], synopsis=17)  # pyright: ignore[reportArgumentType]

    first = case.candidates(case.plan())[0]

    assert (first.reason, first.detail, first.adult) == ("malformed", "synopsis is 17, expected a text or null", True)


def test_what_was_purged_does_not_come_back(case: Case) -> None:
    write_graves(case.folder, with_keys(Graves({}, None), "s0", "too_old", ["kitsu:1000"]))

    found = case.candidates(case.plan())

    assert (found[0].key, found[0].reason, found[0].url, found[0].captions) == ("kitsu:1000", "purged", "", ())
    assert found[4].reason == ""


def test_an_unfinished_purge_comes_first(case: Case) -> None:
    case.plan()
    write_graves(case.folder, Graves({}, "2026-05-31"))

    with pytest.raises(ValueError, match="finish it first"):
        case.plan()


def test_without_synopsis_and_quotes_nothing_would_have_a_caption() -> None:
    with pytest.raises(ValueError, match="synopsis and quotes are both false"):
        config_of(synopsis=False, quotes=False)


def test_a_wrong_service_file_is_named(case: Case) -> None:
    case.service_file.write_text("kitsu: {url: 17}\n")

    with pytest.raises(ValueError, match=r"anime\.yaml: kitsu\.url"):
        case.plan()


@pytest.mark.parametrize(
    ("there", "wanted", "found"),
    [
        (("tiny", "small", "large"), "small", "small"),
        (("tiny", "large", "original"), "medium", "large"),
        (("tiny", "small"), "medium", "small"),
        (("original",), "tiny", "original"),
        ((), "tiny", ""),
    ],
)
def test_the_next_larger_poster_stands_in(there: tuple[str, ...], wanted: str, found: str) -> None:
    title = Title("1", posters=tuple((size, size) for size in there), updated_at=datetime(2020, 1, 1, tzinfo=UTC))

    assert poster_of(title, wanted) == found


@pytest.mark.parametrize(
    ("synopsis", "paragraph"),
    [
        ("One.\n\nTwo.", "One."),
        ("One\nline.\r\n\r\nTwo.", "One\nline."),
        ("One.<br><br/>\nTwo.", "One."),
        ("(Source: ANN)\n \nOne. (Source: ANN)", "One. (Source: ANN)"),
        ("\n\n  \n\n[Written by MAL Rewrite]", ""),
        ("", ""),
    ],
)
def test_the_first_paragraph_that_says_something_is_the_caption(synopsis: str, paragraph: str) -> None:
    assert first_paragraph(synopsis) == paragraph


def test_a_huge_paragraph_is_not_cleaned_to_be_chosen() -> None:
    assert first_paragraph("\u0301" * 1_000_000) == "\u0301" * 1_000_000


def test_the_source_has_a_name_and_a_licence() -> None:
    assert anime.SOURCE == "anime" and "publish ids only" in anime.LICENSE
