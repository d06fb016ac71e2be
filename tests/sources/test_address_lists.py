import json
from pathlib import Path

import pytest

from minimagen.config import ConfigError
from minimagen.sources.address_lists import AddressList, ListFile
from minimagen.sources.drawing_order import NO_IDENTITY
from minimagen.sources.url_tables import UrlRow

CAPTIONS = [
    '"opens',
    "NA",
    "null",
    "caf\u00e9 \u4e2d",
    'closes"',
    "one\u2028two\x0bthree\x85",
    "\x00",
    " padded ",
    "\ufeff",
]


def read(path: Path, content: bytes | str | None = None) -> list[UrlRow]:
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with AddressList(ListFile(path, "tsv")) as rows:
        return [rows.row(number) for number in range(len(rows))]


def lines(captions: list[str], *, is_url_first: bool = False) -> list[str]:
    pairs = [(caption, f"http://a.example/{number}") for number, caption in enumerate(captions)]
    return ["\t".join(reversed(pair) if is_url_first else pair) for pair in pairs]


@pytest.mark.parametrize("is_url_first", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "beginning", ["", "\ufeff", "caption\turl\n", "\ufeffurl\tcaption\r\n", "Caption\tImage_URL\n"]
)
def test_captions_are_read_as_they_are_in_either_order_of_columns(
    tmp_path: Path, beginning: str, end: str, is_url_first: bool
) -> None:
    rows = read(tmp_path / "l.tsv", beginning + end.join(lines(CAPTIONS, is_url_first=is_url_first)) + end)

    assert [row.captions for row in rows] == [(caption,) for caption in CAPTIONS]
    assert [row.url for row in rows] == [f"http://a.example/{number}" for number in range(len(CAPTIONS))]


def test_a_bad_line_keeps_its_number_and_touches_no_other(tmp_path: Path) -> None:
    good = [line.encode() for line in lines(["a", "b", "c", "d", "e"])]
    bad = [good[0], b"caf\xe9\thttp://x/", good[1], b"one", good[2], b"one\ttwo\thttp://x/", good[3], b"", good[4]]

    rows = read(tmp_path / "l.tsv", b"\n".join(bad))

    assert [row.captions for row in rows[::2]] == [("a",), ("b",), ("c",), ("d",), ("e",)]
    reasons = [row.rejection and row.rejection.reason for row in rows]
    assert reasons == [None, "bad_encoding", None, "bad_line", None, "bad_line", None, "bad_line", None]
    assert [row.where for row in rows] == [f"row {number}" for number in range(9)]


@pytest.mark.parametrize(("num_bad", "is_told"), [(9, True), (10, False)])
def test_the_order_is_told_if_more_than_99_per_cent_of_a_column_begin_with_http(
    tmp_path: Path, num_bad: int, is_told: bool
) -> None:
    content = "".join(f"x\t{'ftp' if number < num_bad else 'HTTP'}://a/\n" for number in range(1000))

    if is_told:
        assert len(read(tmp_path / "l.tsv", content + "a\tb\n" * 500)) == 1500
    else:
        with pytest.raises(
            ConfigError, match=r"l\.tsv: which column .* 1000 of the first 1000 .* 99\.0% of the second"
        ):
            read(tmp_path / "l.tsv", content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no row"),
        (b"caption\turl\n", "holds no row"),
        (b"one\ttwo\n", "0.0% of the first and 0.0% of the second"),
        (b"http://a/\thttp://b/\n", "100.0% of the first and 100.0% of the second"),
        (b"one,http://a/\n", "0 of the first 1 rows have two fields"),
        ("one\thttp://a/\n".encode("utf-16"), "not UTF-8 but UTF-16"),
    ],
)
def test_a_file_that_is_no_list_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path / "l.tsv", content)


def test_identities_tell_addresses_apart_and_not_their_spellings(tmp_path: Path) -> None:
    urls = ["http://a.example/x", "http://a.example/y", "HTTP://A.example:80/x#z", "", "", "http://a.example/x"]
    path = tmp_path / "l.tsv"
    path.write_text("".join(f"caption\t{url}\n" for url in urls))

    with AddressList(ListFile(path, "tsv")) as rows:
        found = rows.identities()

    assert found[0] == found[2] == found[5] != found[1]
    assert found[3] == found[4] == NO_IDENTITY != found[0]


def test_pairs_hold_what_no_line_can(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    pairs = [["http://a/", "one\ntwo\tthree"], {"reason": "bad_encoding", "detail": "not UTF-8"}, ["http://b/", None]]
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))

    with AddressList(ListFile(path, "pairs")) as rows:
        first, second, third = (rows.row(number) for number in range(len(rows)))

    assert first.captions == ("one\ntwo\tthree",)
    assert [row.rejection.reason for row in (second, third) if row.rejection] == ["bad_encoding", "no_caption"]
