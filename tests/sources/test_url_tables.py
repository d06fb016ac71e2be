import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from minimagen.config import ConfigError
from minimagen.sources.captions import MAX_RAW_CHARS
from minimagen.sources.url_tables import UrlRow, UrlTable, read_url_table


def read(path: Path, part: str | None = None, url_column: str = "url") -> list[UrlRow]:
    return list(read_url_table(UrlTable(path, url_column, "caption", part)))


def write(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document))
    return path


def test_rows_come_in_the_order_of_the_table_with_the_place_where_they_stand(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('caption,url\none,http://a/\n"t\nwo",http://b/\n\nthree,http://c/\n')

    rows = read(tmp_path / "t.csv")

    assert [(row.where, row.url, row.captions, row.part) for row in rows] == [
        ("line 2", "http://a/", ("one",), ""),
        ("line 4", "http://b/", ("t\nwo",), ""),
        ("line 6", "http://c/", ("three",), ""),
    ]


@pytest.mark.parametrize(
    ("url", "caption", "reason"),
    [
        (None, "x", "no_url"),
        ("", "x", "no_url"),
        (" \n", "x", "no_url"),
        (7, "x", "bad_url"),
        (["http://a/"], "x", "bad_url"),
        ("http://a/\ud800", "x", "bad_url"),
        ("http://a/" + "x" * 4096, "x", "bad_url"),
        ("http://a/", None, "no_caption"),
        ("http://a/", [], "no_caption"),
        ("http://a/", 7, "caption_not_text"),
        ("http://a/", ["x", {"y": 1}], "caption_not_text"),
        ("http://a/", "\udfff", "caption_not_text"),
        ("http://a/", "x" * (MAX_RAW_CHARS + 1), "caption_too_long"),
        (None, None, "no_url"),
    ],
)
def test_a_row_that_cannot_be_asked_for_says_why(tmp_path: Path, url: object, caption: object, reason: str) -> None:
    (row,) = read(write(tmp_path / "t.json", [{"url": url, "caption": caption}]))

    assert row.rejection is not None and row.rejection.reason == reason
    assert len(row.rejection.detail) < 100 and row.rejection.detail.isascii()


def test_an_address_loses_the_blanks_around_it_and_a_caption_nothing(tmp_path: Path) -> None:
    (row,) = read(write(tmp_path / "t.json", [{"url": " http://a/ ", "caption": [" x ", "y" * 30_000]}]))

    assert (row.url, row.captions, row.rejection) == ("http://a/", (" x ", "y" * 30_000), None)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"a.png": "x"}, "expected columns, that is lists; found 'a.png': str"),
        ("x", "expected a list of objects or an object of columns, found str"),
        ([], "holds no row"),
        ({}, "holds no row"),
        ({"url": [], "caption": []}, "holds no row"),
        ({"url": ["a", "b"], "caption": ["x"]}, "'url' has 2 entries and 'caption' 1"),
        ({"url": {"0": "a"}, "caption": {"1": "x"}}, "or of other keys"),
        ({"url": ["a"], "captoin": ["x"]}, "no column 'caption' .*nearest: 'captoin'"),
        ({"train": {"url": ["a"], "text": ["x"]}}, "train: no column 'caption'"),
        ({"train": [{"url": "a"}]}, "train: no column 'caption'"),
        ({"train": {"url": ["a"], "caption": ["x"]}, "info": 7}, "info: expected a list of objects"),
    ],
)
def test_a_document_of_no_known_shape_is_refused_in_one_line(tmp_path: Path, document: object, message: str) -> None:
    path = write(tmp_path / "t.json", document)

    with pytest.raises(ConfigError, match=rf"^{path}: .*{message}"):
        read(path)


def test_parts_may_be_objects_or_columns_or_empty_and_one_can_be_chosen(tmp_path: Path) -> None:
    parts = {
        "train": [{"url": "a", "caption": "x"}],
        "test": {"url": ["b"], "caption": ["y"]},
        "rest": [],
        "info": {"v": "1"},
    }
    path = write(tmp_path / "t.json", {name: parts[name] for name in ("train", "test", "rest")})

    assert [(row.part, row.where, row.url) for row in read(path)] == [
        ("train", "train: entry 1", "a"),
        ("test", "test: entry 1", "b"),
    ]
    assert [row.url for row in read(write(path, parts), "test")] == ["b"]
    with pytest.raises(ConfigError, match=r"no part 'tset' .*; found: 'train', 'test', 'rest', 'info'"):
        read(path, "tset")


def test_a_column_that_some_objects_lack_is_none_of_a_misspelt_name(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"url": "a"}\n{"url": "b", "caption": "x"}\n')

    assert [row.rejection is None for row in read(tmp_path / "t.jsonl")] == [False, True]


def test_other_columns_of_parquet_are_not_even_read(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
    pq.write_table(pa.table({"url": ["a"], "caption": ["x"], "more": broken}), tmp_path / "t.parquet")

    assert read(tmp_path / "t.parquet")[0].rejection is None


def test_only_the_first_thousand_names_of_columns_are_kept(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("".join(f'{{"key{number}": 1}}\n' for number in range(3000)))

    with pytest.raises(ConfigError) as error:
        read(tmp_path / "t.jsonl")
    assert str(error.value).endswith("'key19', ...") and len(str(error.value)) < 1000
