import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from minimagen.sources.http import ApiError
from minimagen.sources.request_budget import HOUR_S
from tests.simulators.anime import Quote
from tests.sources.anime_services import Case, running_case

QUOTES = "/v1/quotes"


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    """Forty titles."""
    with running_case(tmp_path, monkeypatch, num_titles=40) as running:
        yield running


def num_quoted(case: Case, snapshot: str, **changes: object) -> int:
    """Plans a snapshot and returns how many of its titles have quotes."""
    jobs = case.plan(snapshot, quotes=True, **changes)
    own = [job for job in jobs if job.name.startswith(f"{snapshot}-")]
    return sum(any(text.startswith("No.") for text in one.captions) for one in case.candidates(own))


def test_five_requests_are_made_and_the_sixth_is_not(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        num_quoted(case, "s1", max_quote_requests=20)

    assert len(case.asked(QUOTES)) == 5
    assert "5 requests made: the requests of this hour are used up" in caplog.text


def test_a_snapshot_spends_no_more_than_it_may(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        num_quoted(case, "s1", max_quote_requests=3)

    assert len(case.asked(QUOTES)) == 3
    assert "max_quote_requests is 3" in caplog.text


def test_runs_share_the_hour(case: Case) -> None:
    num_quoted(case, "s1", max_quote_requests=3)
    case.services.add(10)
    num_quoted(case, "s2", max_quote_requests=3)
    assert len(case.asked(QUOTES)) == 5

    case.services.add(10)
    assert num_quoted(case, "s3", max_quote_requests=3) == 0
    assert case.asked(QUOTES) == []

    case.clock.sleep(HOUR_S)
    case.services.add(10)
    assert num_quoted(case, "s4", max_quote_requests=3) > 0
    assert len(case.asked(QUOTES)) == 3


def test_an_answer_is_asked_for_once_in_a_lifetime(case: Case) -> None:
    before = num_quoted(case, "s1")
    first = {query["anime"] for query in case.asked(QUOTES)}

    case.clock.sleep(10 * HOUR_S)
    after = num_quoted(case, "s1", max_quote_requests=20, shard_rows=7)  # other parameters: all is listed anew

    second = {query["anime"] for query in case.asked(QUOTES)}
    assert len(first) == len(second) == 5 and first.isdisjoint(second)
    assert after >= before + 5


def test_what_a_kill_left_half_written_is_swept_away(case: Case) -> None:
    (case.state / "quotes").mkdir(parents=True)
    (case.state / "quotes/0123.json.tmp-77").write_bytes(b"torn")

    case.plan(quotes=True)

    assert not list(case.root.rglob("*.tmp-*"))


def test_the_first_page_of_every_title_comes_before_a_second(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANIMECHAN_KEY", case.services.key)

    case.plan(quotes=True, max_quote_requests=1000)

    pages = [query["page"] for query in case.asked(QUOTES)]
    assert pages == sorted(pages) and pages.count("1") == pages.count("2") > 20
    found = case.candidates(case.plan(quotes=True, max_quote_requests=1000))
    assert {sum(text.startswith("No.") for text in one.captions) for one in found if not one.reason} == {7}


def test_a_key_lifts_the_limit_and_is_sent_in_a_header_only(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANIMECHAN_KEY", case.services.key)

    case.plan(quotes=True, max_quote_requests=12)

    requests = [request for request in case.site.requests if request.path == QUOTES]
    assert len(requests) == 12
    assert all(request.headers["x-api-key"] == case.services.key for request in requests)
    assert not any(case.services.key in str(request.query) for request in case.site.requests)
    others = [request for request in case.site.requests if request.path != QUOTES]
    assert not any("x-api-key" in request.headers for request in others)
    written = b"".join(path.read_bytes() for path in case.root.rglob("*") if path.is_file())
    assert case.services.key.encode() not in written


def test_a_refused_key_is_named_and_not_told(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANIMECHAN_KEY", "a-wrong-key")

    with pytest.raises(ApiError, match=r"401.*ANIMECHAN_KEY was refused") as caught:
        case.plan(quotes=True)

    assert "a-wrong-key" not in str(caught.value)


def test_a_block_by_the_service_is_kept_to_for_an_hour(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    case.services.spend_free_requests()
    with caplog.at_level(logging.INFO):
        assert num_quoted(case, "s1") == 0
    assert len(case.asked(QUOTES)) == 1 and "had enough of us for an hour" in caplog.text

    case.clock.sleep(HOUR_S - 60)
    case.services.add(10)
    num_quoted(case, "s2")
    assert case.asked(QUOTES) == []

    case.clock.sleep(60)
    case.services.add(10)
    assert num_quoted(case, "s3") > 0


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_service_that_is_down_costs_one_request_and_no_poster(
    case: Case, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    case.services.quotes_status = status

    with caplog.at_level(logging.INFO):
        jobs = case.plan(quotes=True)

    assert len(case.asked(QUOTES)) == 1 and f"answers {status}" in caplog.text
    assert sum(not one.reason for one in case.candidates(jobs)) == len(case.services.good_entries())


def test_no_request_is_tried_again_unseen_by_the_budget(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    case.services.quotes_page = b"<html>a moment please</html>"

    with caplog.at_level(logging.INFO):
        jobs = case.plan(quotes=True)

    assert len(case.asked(QUOTES)) == 1 and "no JSON" in caplog.text
    assert sum(not one.reason for one in case.candidates(jobs)) == len(case.services.good_entries())


def test_a_title_that_is_not_known_is_tried_by_its_english_name(case: Case) -> None:
    entry = replace(case.services.entries[0], english="Something Else")
    case.services.entries = [entry]
    case.services.quotes = [Quote("No. It is me.", "Something else!", "", "Saki")]

    found = case.candidates(case.plan(quotes=True))

    assert [query["anime"] for query in case.asked(QUOTES)] == [entry.name, "Something Else"]
    assert found[0].captions[1:] == ("No. It is me.",)


def test_quotes_without_text_or_title_are_passed_over(case: Case) -> None:
    name = case.services.entries[0].name
    case.services.quotes = [
        Quote("", name, "", "A"),
        Quote("half \ud800", name, "", "A"),
        Quote(None, name, "", "A"),  # pyright: ignore[reportArgumentType]
        Quote("No title", None, None, "A"),  # pyright: ignore[reportArgumentType]
        Quote("No. 1", name, None, "A"),  # pyright: ignore[reportArgumentType]
    ]

    found = {one.key: one.captions for one in case.candidates(case.plan(quotes=True))}

    assert found[f"kitsu:{case.services.entries[0].id}"][1:] == ("No. 1",)


def test_an_interrupted_plan_does_not_spend_its_requests_twice(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANIMECHAN_KEY", case.services.key)
    case.services.quotes_status, case.services.quotes_status_after = 401, 4
    with pytest.raises(ApiError):
        case.plan(quotes=True, max_quote_requests=6)
    case.services.quotes_status = None

    case.plan(quotes=True, max_quote_requests=6)

    asked = [query["anime"] for query in case.asked(QUOTES)]
    assert len(asked) == 7 and len(set(asked)) == 6  # the one that was refused is asked for again
