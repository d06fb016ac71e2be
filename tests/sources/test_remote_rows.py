import json

import pytest

from minimagen.rows import Rejection
from minimagen.sources.candidates import Candidate
from minimagen.sources.images import NormalisedImage
from minimagen.sources.remote_rows import Captions, row_of, settle, wanted_urls, wish_for
from tests.sources.remote_case import CAPTION_RULES, candidate

IMAGE = NormalisedImage(b"png", "png", 3, 4, 30, 40, "ab" * 32, 5)


def wishes_for(*candidates: Candidate) -> list:
    return [wish_for(one, CAPTION_RULES) for one in candidates]


def test_captions_are_cleaned_and_each_kept_once_in_order() -> None:
    wish = wish_for(candidate("1", "http://a/", ["a  cat", "a cat", "x", "a <b>dog</b>", "y"]), CAPTION_RULES)

    assert wish.captions == Captions(("a cat", "a dog"), "a  cat", {"caption_too_short": 2})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("http://a.example/x.jpg", "HTTP://A.Example:80/x.jpg#part"),
        ("https://a.example/x%7Ey.jpg", "https://a.example:443/x~y.jpg"),
    ],
)
def test_spellings_of_one_address_are_asked_for_once(first: str, second: str) -> None:
    assert len(wanted_urls(wishes_for(candidate("1", first), candidate("2", second)))) == 1


def test_addresses_are_asked_for_in_order() -> None:
    urls = [f"http://a.example/{name}" for name in "cab"]

    assert wanted_urls(wishes_for(*(candidate(url, url) for url in urls))) == urls


def test_every_candidate_has_one_outcome() -> None:
    wishes = wishes_for(
        candidate("stored", "http://a.example/1"),
        candidate("adult", "http://a.example/2", reason="adult"),
        candidate("gone", "http://a.example/3"),
        candidate("pending", "http://a.example/4"),
        candidate("copy", "http://a.example/5"),
        candidate("again", "http://a.example/1"),
    )
    verdicts: dict[str, str | Rejection] = {
        "http://a.example/1": "h1",
        "http://a.example/3": Rejection("http_404", "status 404"),
        "http://a.example/5": "h1",
    }

    outcomes = settle(wishes, verdicts)

    assert [wish.candidate.key for wish in outcomes.stored] == ["web:stored"]
    assert {failure.key: failure.reason for failure in outcomes.failures} == {
        "web:adult": "adult",
        "web:gone": "http_404",
        "web:copy": "duplicate",
        "web:again": "duplicate",
    }
    assert outcomes.num_pending == 1
    assert outcomes.failures[2].detail == "the same file as web:stored"


def test_a_pending_row_is_no_first_of_its_copies() -> None:
    wishes = wishes_for(candidate("1", "http://a.example/1"), candidate("2", "http://a.example/2"))

    outcomes = settle(wishes, {"http://a.example/2": "h"})

    assert [wish.candidate.key for wish in outcomes.stored] == ["web:2"] and outcomes.num_pending == 1


def test_a_row_keeps_what_only_its_source_knows() -> None:
    known = Candidate("web:1", "http://a.example/1", ("a cat", "x"), "", "CC0", False, "en", extra='{"votes":7}')

    [wish] = wishes_for(known)
    row = row_of(wish, IMAGE, source="web", snapshot="first")

    assert json.loads(row.extra) == {"votes": 7, "captions_dropped": {"caption_too_short": 1}}
    assert (row.source, row.fetched_at, row.image_bytes, row.phash) == ("web", None, b"png", 5)
