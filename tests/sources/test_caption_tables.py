import csv
import io
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from minimagen.config import ConfigError
from minimagen.rows import Rejection
from minimagen.sources.caption_tables import CaptionEntry, read_caption_table


def read(path: Path, content: bytes | str, *, path_column: str = "file_name", caption_column: str = "text"):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_caption_table(path, path_column=path_column, caption_column=caption_column)


def entries(*pairs: tuple[str, str]) -> list[CaptionEntry]:
    return [CaptionEntry(picture, (caption,)) for picture, caption in pairs]


def test_csv_fields_may_hold_commas_quotes_and_line_breaks_between_quotes(tmp_path: Path) -> None:
    text = 'file_name,text\na.png,"red, round"\nb.png,"the ""big"" one"\nc.png,"two\nlines"\n\nd.png,plain\n'

    assert read(tmp_path / "m.csv", text) == entries(
        ("a.png", "red, round"), ("b.png", 'the "big" one'), ("c.png", "two\nlines"), ("d.png", "plain")
    )


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
@pytest.mark.parametrize("word", ["NA", "null", "None", "NaN", "nan", "", "-", "1e5", "007", "TRUE"])
def test_words_that_look_like_missing_values_or_numbers_are_text(tmp_path: Path, suffix: str, word: str) -> None:
    separator = "," if suffix == "csv" else "\t"
    text = f"file_name{separator}text\na.png{separator}{word}\n"

    assert read(tmp_path / f"m.{suffix}", text) == entries(("a.png", word))


def test_a_quote_in_tsv_is_a_character_and_merges_no_rows(tmp_path: Path) -> None:
    text = 'file_name\ttext\na.png\t"Hello\nb.png\tsay "so"\nc.png\t"\nd.png\tend"\n'

    assert read(tmp_path / "m.tsv", text) == entries(
        ("a.png", '"Hello'), ("b.png", 'say "so"'), ("c.png", '"'), ("d.png", 'end"')
    )


@pytest.mark.parametrize("char", ["\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\x00"])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_odd_separators_split_no_line(tmp_path: Path, suffix: str, char: str) -> None:
    caption = f"one{char}two"
    if suffix == "jsonl":
        text = json.dumps({"file_name": "a.png", "text": caption}, ensure_ascii=False) + "\n"
        text = text if ord(char) >= 32 else json.dumps({"file_name": "a.png", "text": caption}) + "\n"
    else:
        separator = "," if suffix == "csv" else "\t"
        text = f"file_name{separator}text\na.png{separator}{caption}\n"

    assert read(tmp_path / f"m.{suffix}", text) == entries(("a.png", caption))


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_line_ends_and_a_byte_order_mark_do_not_matter(tmp_path: Path, suffix: str, bom: str, newline: str) -> None:
    separator = "," if suffix == "csv" else "\t"
    lines = [f"file_name{separator}text", f"a.png{separator}caf\u00e9"]
    if suffix == "jsonl":
        lines = ['{"file_name": "a.png", "text": "caf\u00e9"}']

    assert read(tmp_path / f"m.{suffix}", bom + newline.join(lines) + newline) == entries(("a.png", "caf\u00e9"))


def test_a_csv_as_pandas_writes_it_comes_back(tmp_path: Path) -> None:
    captions = ['"', "a,b", "line\nbreak", "tab\there", "'", "NA", " padded ", "\u4e2d\u6587"]
    pd.DataFrame({"file_name": [f"{i}.png" for i in range(len(captions))], "text": captions}).to_csv(
        tmp_path / "m.csv", index=False
    )

    found = read_caption_table(tmp_path / "m.csv", path_column="file_name", caption_column="text")

    assert [entry.captions for entry in found] == [(caption,) for caption in captions]


def test_a_long_caption_is_read_and_the_csv_limit_is_put_back(tmp_path: Path) -> None:
    before = csv.field_size_limit()

    found = read(tmp_path / "m.csv", "file_name,text\na.png," + "x" * 200_000)

    assert found[0].captions == ("x" * 200_000,)
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", 'file_name,text\na.png,"open\nb.png,x\n', "line 3: not CSV"),
        ("m.csv", 'file_name,text\na.png,"so" he said\n', "line 2: not CSV"),
        ("m.csv", "file_name,text\na.png,red, round\n", "line 2: 3 fields, expected 2"),
        ("m.csv", "file_name,text\na.png\n", "line 2: 1 fields, expected 2"),
        ("m.tsv", "file_name\ttext\na.png\tx\ty\n", "line 2: 3 fields, expected 2"),
        ("m.csv", "file_name,text,text\na.png,x,y\n", "'text' stands twice"),
        ("m.csv", "", "holds no row"),
        ("m.csv", "file_name,text\n", "holds no row"),
        ("m.json", "[]", "holds no row"),
        ("m.jsonl", "\n\n", "holds no row"),
        ("m.jsonl", '{"file_name": "a.png", "text": "x"}\n{"file_name": \n', "line 2: not JSON"),
        ("m.jsonl", '["a.png", "x"]\n', "line 1: expected an object, found list"),
        ("m.jsonl", '{"file_name": "a.png", "text": "x", "text": "y"}\n', "key 'text' twice"),
        ("m.jsonl", "[" * 100_000, "line 1: not JSON that can be read"),
        ("m.json", '{"a.png": "x"}', "expected a list of objects, found dict"),
        ("m.json", '[\n{"file_name": "a.png"},\n{"file_name" "b.png"}]', "line 3: not JSON"),
        ("m.jsonl", '{"file_name": 7, "text": "x"}', "line 1: file_name is 7"),
        ("m.csv", "file_name,text\n ,x\n", "line 2: file_name is ' '"),
        ("m.csv", b"file_name,text\na.png,caf\xe9\n", "line 2: not UTF-8 .byte 0xe9"),
        ("m.csv", "file_name,text\na.png,x\n".encode("utf-16"), "line 1: not UTF-8"),
        ("m.parquet", b"PAR1 torn", "not Parquet"),
        ("m.txt", "a.png x", "read from .csv, .tsv, .json, .jsonl, .parquet, not from .txt"),
    ],
)
def test_a_file_that_is_unclear_is_an_error_that_names_it_and_the_line(
    tmp_path: Path, name: str, content: bytes | str, message: str
) -> None:
    with pytest.raises(ConfigError, match=rf"{name}: .*{message}"):
        read(tmp_path / name, content)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.csv: no such file"):
        read_caption_table(tmp_path / "nowhere.csv", path_column="a", caption_column="b")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_misspelt_column_names_file_key_what_was_found_and_the_nearest(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"m.{suffix}"
    records = [{"file_name": "a.png", "caption": "x", "width": "3"}]
    if suffix == "csv":
        pd.DataFrame(records).to_csv(path, index=False)
    elif suffix == "jsonl":
        path.write_text(json.dumps(records[0]))
    else:
        pq.write_table(pa.Table.from_pylist(records), path)

    with pytest.raises(ConfigError) as error:
        read_caption_table(path, path_column="file_name", caption_column="captoin")

    assert str(error.value) == (
        f"{path}: no column 'captoin' (ingest.folder.caption_column in params.yaml); "
        "found: 'file_name', 'caption', 'width'; nearest: 'caption'"
    )


@pytest.mark.parametrize(
    ("columns", "wanted", "end"),
    [
        (
            "file_name,text",
            ("file_name", "caption"),
            "'caption' (ingest.folder.caption_column in params.yaml); found: {}",
        ),
        (
            "file_name,file_nam",
            ("file_name", "file_names"),
            "caption_column in params.yaml); found: {}; nearest: 'file_nam'",
        ),
        ("image,text", ("texts", "text"), "'texts' (ingest.folder.path_column in params.yaml); found: {}"),
    ],
)
def test_no_column_is_proposed_that_is_far_off_or_has_another_use(
    tmp_path: Path, columns: str, wanted: tuple[str, str], end: str
) -> None:
    path = tmp_path / "m.csv"
    path.write_text(f"{columns}\na.png,x\n")

    with pytest.raises(ConfigError) as error:
        read_caption_table(path, path_column=wanted[0], caption_column=wanted[1])

    assert str(error.value).endswith(end.format(", ".join(map(repr, columns.split(",")))))


@pytest.mark.parametrize("suffix", ["json", "jsonl", "parquet"])
def test_a_caption_may_be_a_list_or_missing(tmp_path: Path, suffix: str) -> None:
    records = [
        {"file_name": "a.png", "text": ["one", "two"]},
        {"file_name": "b.png", "text": []},
        {"file_name": "c.png", "text": None},
    ]
    path = tmp_path / f"m.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    else:
        path.write_text(json.dumps(records) if suffix == "json" else "\n".join(map(json.dumps, records)))

    first, *missing = read_caption_table(path, path_column="file_name", caption_column="text")

    assert first.captions == ("one", "two")
    assert all(isinstance(entry.captions, Rejection) and entry.captions.reason == "no_caption" for entry in missing)


@pytest.mark.parametrize("value", ["7", "NaN", "-Infinity", "true", '{"en": "x"}', '["x", 3]', "1" + "0" * 400])
def test_a_caption_that_is_no_text_is_a_rejection_not_an_error(tmp_path: Path, value: str) -> None:
    (entry,) = read(tmp_path / "m.jsonl", f'{{"file_name": "a.png", "text": {value}}}')

    assert isinstance(entry.captions, Rejection) and entry.captions.reason == "caption_not_text"


def test_a_record_without_the_caption_key_is_a_rejection(tmp_path: Path) -> None:
    _, second = read(tmp_path / "m.jsonl", '{"file_name": "a.png", "text": "x"}\n{"file_name": "b.png"}\n')

    assert isinstance(second.captions, Rejection) and second.captions.reason == "no_caption"


def test_a_float_column_of_missing_values_in_parquet_is_no_text(tmp_path: Path) -> None:
    stream = io.BytesIO()
    pd.DataFrame({"file_name": ["a.png", "b.png"], "text": [1.5, 2.0]}).to_parquet(stream)

    found = read(tmp_path / "m.parquet", stream.getvalue())

    assert all(isinstance(entry.captions, Rejection) for entry in found)
