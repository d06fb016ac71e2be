import random
import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimagen.config import CaptionRules
from minimagen.rows import Rejection
from minimagen.sources import captions
from minimagen.sources.captions import MAX_RAW_CHARS, accept_caption, check_caption, clean_caption

RULES = CaptionRules(min_chars=3, max_chars=20)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        # entities, also escaped twice
        ("Tom &amp; Jerry", "Tom & Jerry"),
        ("Tom &amp;amp; Jerry", "Tom & Jerry"),
        ("caf&eacute;", "caf\u00e9"),
        # tags
        ("one<br>two<br/>three", "one two three"),
        ("a <i>big</i> <b class='x'>dog</b>", "a big dog"),
        ("&lt;p&gt;a cat&lt;/p&gt;", "a cat"),
        ("a<!-- note -->b", "ab"),
        ("I <3 you, 2 < 3 > 1", "I <3 you, 2 < 3 > 1"),
        # mojibake, quotes, width
        ("sch\u00c3\u00b6n", "sch\u00f6n"),
        ("\u201cquoted\u201d and \u2018so\u2019", "\"quoted\" and 'so'"),
        # NFC
        ("cafe\u0301", "caf\u00e9"),
        # control and format characters
        ("a\x00b\x07c", "abc"),
        ("\ufeffa\u200bb\u202ec\u00ad", "abc"),
        (
            "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        ),
        # white space of every kind
        ("  a\t b\r\nc\u2028d\u00a0e\x0bf ", "a b c d e f"),
        ("wait\x85", "wait\u2026"),  # the Windows-1252 ellipsis, as ftfy reads it
        # credits and spoilers
        ("A plot.\n\n(Source: Crunchyroll)", "A plot."),
        ("A plot. [Written by MAL Rewrite]", "A plot."),
        ("He dies ~!in the end!~ perhaps", "He dies perhaps"),
        # Conceptual Captions
        ("<PERSON> and <PERSON> at the sea .", "person and person at the sea."),
        ("a dog , a cat ; who ?", "a dog, a cat; who?"),
        ("I can not see", "I cannot see"),
        ("Can not see", "Cannot see"),
        ("# night # city", "night # city"),
        ("a .5 mm pen", "a .5 mm pen"),
        # text that looks like a missing value is text
        ("NA", "NA"),
        ("null", "null"),
        ("", ""),
    ],
)
def test_cleaning(raw: str, expected: str) -> None:
    assert clean_caption(raw) == expected


@given(st.text(max_size=80))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_a_clean_caption_is_one_line_of_nfc_without_control_characters(raw: str) -> None:
    text = clean_caption(raw)

    assert text == text.strip() and "  " not in text
    assert not any(unicodedata.category(char) in ("Cc", "Zl", "Zp", "Cs") for char in text)
    assert unicodedata.is_normalized("NFC", text)


@given(st.text(alphabet="abcdefghij KLMNOP-'()", max_size=60))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_plain_english_is_left_alone_but_for_white_space(raw: str) -> None:
    assert clean_caption(raw) == " ".join(raw.split())


def test_lengths_at_the_limits_are_accepted() -> None:
    assert check_caption("abc", RULES) is None
    assert check_caption("a" * 20, RULES) is None


@pytest.mark.parametrize(("text", "reason"), [("ab", "caption_too_short"), ("a" * 21, "caption_too_long")])
def test_lengths_beyond_the_limits_are_rejected_with_the_number(text: str, reason: str) -> None:
    rejection = check_caption(text, RULES)

    assert rejection is not None and rejection.reason == reason
    assert f"{len(text)} characters" in rejection.detail


def test_length_is_measured_after_cleaning() -> None:
    assert accept_caption("<b>a dog</b>" + " " * 50, RULES) == "a dog"
    assert isinstance(accept_caption("<b></b>", RULES), Rejection)


def test_an_empty_caption_is_accepted_only_where_the_rules_allow_it() -> None:
    assert accept_caption("", CaptionRules(min_chars=0, max_chars=5)) == ""
    assert isinstance(accept_caption("", RULES), Rejection)


def test_half_a_surrogate_pair_is_no_text() -> None:
    rejection = accept_caption("a dog \ud800", RULES)

    assert isinstance(rejection, Rejection) and rejection.reason == "caption_not_text"
    rejection.detail.encode()


@pytest.mark.parametrize(
    "raw",
    [
        "a" + "\u0301\u0316" * 10_000_000,
        "<a " * 1_000_000,
        "a" + "\u0301\u0316" * (MAX_RAW_CHARS // 2 - 1),
        "<" * MAX_RAW_CHARS,
    ],
)
def test_hostile_captions_cost_little_time(raw: str) -> None:
    start = time.monotonic()

    accept_caption(raw, RULES)

    assert time.monotonic() - start < 5.0


@pytest.mark.parametrize("mark", ["<!--", "~!", "(source:", "[written by", "&amp;", "<a ", " .", "can not "])
def test_repeated_marks_are_not_quadratic_enough_to_matter(mark: str) -> None:
    start = time.monotonic()

    clean_caption(mark * (MAX_RAW_CHARS // len(mark)))

    assert time.monotonic() - start < 5.0


def test_plain_ascii_comes_out_of_the_mending_steps_as_it_went_in() -> None:
    alphabet = [char for char in map(chr, range(32, 127)) if char not in "&<"]
    draw = random.Random(5)

    for _ in range(2000):
        raw = "".join(draw.choices(alphabet, k=draw.randrange(60)))
        assert captions._mended(raw) == raw  # pyright: ignore[reportPrivateUsage]
