import asyncio
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minimagen.rows import Rejection
from minimagen.sources.collecting import Fetch, Keep, by_turns, collect
from minimagen.sources.decoding import Decoder
from minimagen.sources.decoding_notes import DecodingNotes
from minimagen.sources.images import NormalisedImage, normalise_image
from minimagen.sources.outcomes import Fetched, Postponed, Refused
from tests.sources.remote_case import RULES

Outcome = NormalisedImage | Rejection
Answer = Fetched | Refused | Postponed


def picture(width: int = 16, height: int = 16, kind: str = "PNG") -> Fetched:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    Image.fromarray(noise).resize((width, height), Image.Resampling.NEAREST).save(stream, kind)
    return Fetched(stream.getvalue(), "http://a.example/")


def run(urls: Sequence[str], fetch: Fetch, keep: Keep, num_at_once: int) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        DecodingNotes(Path(folder) / "notes") as notes,
        Decoder(RULES, notes, suspects=()) as decoder,
    ):
        asyncio.run(collect(urls, fetch, decoder, keep, num_at_once=num_at_once))


class Host:
    """Answers each address with what it holds; counts what is asked at the same time."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        self.answers, self.num_open, self.most_open, self.asked = answers, 0, 0, []

    async def fetch(self, url: str) -> Answer:
        self.asked.append(url)
        self.num_open += 1
        self.most_open = max(self.most_open, self.num_open)
        for _ in range(3):
            await asyncio.sleep(0)
        return self.answers[url]

    def keep(self, url: str, outcome: Outcome) -> None:
        self.num_open -= 1
        self.outcomes[url] = outcome

    def collect(self, urls: Sequence[str], num_at_once: int = 4) -> dict[str, Outcome]:
        self.outcomes: dict[str, Outcome] = {}
        run(urls, self.fetch, self.keep, num_at_once)
        return self.outcomes


def test_each_address_gets_its_outcome_and_what_is_postponed_gets_none() -> None:
    host = Host(
        {"a": picture(), "b": Refused("http_404", "status 404"), "c": Postponed("later"), "d": Fetched(b"x", "")}
    )

    outcomes = host.collect("abcd")

    assert isinstance(outcomes["a"], NormalisedImage)
    assert outcomes["b"] == Rejection("http_404", "status 404")
    assert isinstance(outcomes["d"], Rejection) and outcomes["d"].reason == "not_an_image"
    assert "c" not in outcomes


@pytest.mark.parametrize("num_at_once", [1, 3, 100])
def test_no_more_than_so_many_are_neither_answered_nor_kept(num_at_once: int) -> None:
    host = Host({f"http://h{number}.example/": picture() for number in range(20)})

    host.collect(list(host.answers), num_at_once)

    assert host.most_open == min(num_at_once, 20)


def test_a_picture_that_would_take_too_much_memory_is_refused_at_its_header() -> None:
    host = Host({"big": picture(2800, 2800, "WEBP"), "small": picture(2000, 2000, "WEBP")})

    outcomes = host.collect(["big", "small"])

    assert isinstance(outcomes["big"], Rejection) and isinstance(outcomes["small"], NormalisedImage)
    assert outcomes["big"] == Rejection("too_many_pixels", "2800x2800 WEBP takes 120 MB to decode, at most 100 MB")


def test_small_pictures_do_not_wait_for_a_big_one() -> None:
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((4000, 4000), Image.Resampling.NEAREST).save(stream, "PNG")
    assert len(stream.getvalue()) < 60_000
    host = Host({"big": Fetched(stream.getvalue(), ""), "small": picture()})

    assert list(host.collect(["big", "small"])) == ["small", "big"]


def test_pictures_that_come_together_have_the_outcomes_of_each_alone() -> None:
    files = [picture(16 + 8 * (number % 3), 16, "JPEG" if number % 2 else "PNG") for number in range(40)]
    files[5], files[21] = Fetched(files[5].content[:-200], ""), Fetched(b"<html>", "")
    host = Host({str(number): file for number, file in enumerate(files)})

    outcomes = host.collect(list(host.answers), num_at_once=40)

    assert outcomes == {str(number): normalise_image(file.content, RULES) for number, file in enumerate(files)}
    assert isinstance(outcomes["5"], Rejection) and isinstance(outcomes["21"], Rejection)


def test_an_error_of_the_decoder_ends_the_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise AssertionError("ours")

    monkeypatch.setattr("minimagen.sources.decoding.finish_images", broken)
    host = Host({"a": picture(), "b": picture()})

    with pytest.raises(AssertionError, match="ours"):
        host.collect("ab")


def test_details_can_be_stored_whatever_bytes_a_header_held() -> None:
    host = Host({"a": Refused("bad_redirect", "Location: \udcff" + "x" * 1000)})

    [outcome] = host.collect(["a"]).values()

    assert isinstance(outcome, Rejection)
    assert outcome.detail.startswith("Location: \\udcffxxx") and len(outcome.detail) < 310


def test_an_error_of_our_own_ends_the_collection() -> None:
    host = Host({"a": picture(), "b": picture()})

    def full(url: str, outcome: Outcome) -> None:
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        run(["a", "b"], host.fetch, full, num_at_once=2)


def test_hosts_take_turns() -> None:
    urls = ["http://a/1", "http://a/2", "http://a/3", "http://b/1", "http://c/1", "http://b/2"]

    ordered = by_turns(urls)

    assert ordered == ["http://a/1", "http://b/1", "http://c/1", "http://a/2", "http://b/2", "http://a/3"]


def test_addresses_that_are_none_have_a_turn_too() -> None:
    assert by_turns(["", "http://[", "http://a/"]) == ["", "http://[", "http://a/"]
