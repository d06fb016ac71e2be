"""Hostile tables of addresses and captions, each with the outcome of every row, or why the file is refused whole.

A table has a good row before and after what is odd, so that a reader which merges rows, or loses its place, is seen.
"""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

NUM_TABLES = 141
BEFORE, ODD, AFTER = "https://a.example/before", "https://a.example/odd", "https://a.example/after"
FILL = b"@FILL@"


@dataclass(frozen=True, slots=True)
class TableCase:
    """One file."""

    name: str
    suffix: str
    """Of the file; "list" is a TSV without a head, as Conceptual Captions comes."""
    written: bytes
    outcome: tuple[str, ...] | str
    """For each row "ok" or the reason of its rejection; or what the message of the refusal says."""
    caption: str | None = None
    """What the odd row's caption is read as, where it is read."""
    filler: tuple[bytes, int] = (b"", 0)
    """What stands for FILL in the file, and how often: large cases are made when they are written."""

    @property
    def content(self) -> bytes:
        """The whole file."""
        sign, times = self.filler
        return self.written.replace(FILL, sign * times) if times else self.written


def table_cases() -> list[TableCase]:
    """Returns the corpus: NUM_TABLES cases with different names."""
    return [case for family in _FAMILIES for case in family()]


def _line(suffix: str, url: str, caption: str) -> bytes:
    """Returns a row as it is usually written; a caption stands in it as it is."""
    if suffix == "jsonl":
        return json.dumps({"url": url, "caption": caption}, ensure_ascii=False).encode()
    return f"{caption},{url}".encode() if suffix == "csv" else f"{caption}\t{url}".encode()


def _table(suffix: str, *odd: bytes, end: bytes = b"\n") -> bytes:
    head = {"csv": [b"caption,url"], "tsv": [b"caption\turl"]}.get(suffix, [])
    before, after = _line(suffix, BEFORE, "before"), _line(suffix, AFTER, "after")
    return end.join([*head, before, *odd, after]) + end


def _one(name: str, suffix: str, odd: bytes, outcome: str, caption: str | None = None) -> TableCase:
    return TableCase(f"{name} ({suffix})", suffix, _table(suffix, odd), ("ok", outcome, "ok"), caption)


def _separators_inside() -> Iterator[TableCase]:
    """What str.splitlines takes for the end of a line is a character like any other."""
    signs = {"VT": "\v", "FF": "\f", "FS": "\x1c", "GS": "\x1d", "RS": "\x1e", "NEL": "\x85", "LS": "\u2028"}
    for name, sign in (signs | {"NUL": "\x00"}).items():
        for suffix in ("csv", "tsv", "list"):
            yield _one(f"{name} inside a caption", suffix, _line(suffix, ODD, f"a{sign}b"), "ok", f"a{sign}b")
    for name, sign in {"NEL": "\x85", "LS": "\u2028", "PS": "\u2029"}.items():
        yield _one(f"{name} inside a caption", "jsonl", _line("jsonl", ODD, f"a{sign}b"), "ok", f"a{sign}b")
    yield _one("a raw control character", "jsonl", b'{"url": "https://a.example/odd", "caption": "a\x0bb"}', "bad_line")
    yield _one("a lone CR", "tsv", _line("tsv", ODD, "a\rb"), "ok", "a\rb")
    yield _one("a lone CR", "list", _line("list", ODD, "a\rb"), "ok", "a\rb")
    outcome = ("ok", "bad_line", "ok", "ok")  # RFC 4180 has no lone CR; what is left of it is an address and a caption
    yield TableCase("a lone CR (csv)", "csv", _table("csv", _line("csv", ODD, "a\rb")), outcome)


def _line_ends() -> Iterator[TableCase]:
    for suffix in ("csv", "tsv", "list", "jsonl"):
        content = _table(suffix, _line(suffix, ODD, "odd"), end=b"\r\n")
        yield TableCase(f"CR LF ({suffix})", suffix, content, ("ok", "ok", "ok"), "odd")
        whole = _table(suffix, _line(suffix, ODD, "odd"))
        yield TableCase(
            f"no end of the last line ({suffix})", suffix, whole.removesuffix(b"\n"), ("ok", "ok", "ok"), "odd"
        )
        blank = ("ok", "bad_line", "ok") if suffix == "list" else ("ok", "ok")
        yield TableCase(f"a blank line ({suffix})", suffix, _table(suffix, b""), blank)


def _marks_of_encodings() -> Iterator[TableCase]:
    for suffix in ("csv", "tsv", "list", "jsonl"):
        whole = _table(suffix, _line(suffix, ODD, "odd"))
        yield TableCase(f"UTF-8 with a mark ({suffix})", suffix, b"\xef\xbb\xbf" + whole, ("ok", "ok", "ok"), "odd")
        yield TableCase(f"UTF-16 ({suffix})", suffix, whole.decode().encode("utf-16"), "not UTF-8 but UTF-16")
    yield _one("a mark inside", "tsv", _line("tsv", ODD, "a\ufeffb"), "ok", "a\ufeffb")
    yield TableCase(
        "UTF-32 (list)", "list", _table("list").decode().encode("utf-32-be").join([b"\0\0\xfe\xff", b""]), "UTF-32"
    )


def _bytes_that_are_no_text() -> Iterator[TableCase]:
    broken = {
        "latin 1": b"caf\xe9",
        "overlong": b"\xc0\xaf",
        "half of a pair": b"\xed\xa0\x80",
        "cut": b"\xe2\x82",
        "beyond Unicode": b"\xf4\x90\x80\x80",
        "never a byte": b"\xff",
    }
    for name, text in broken.items():
        for suffix in ("csv", "tsv", "list", "jsonl"):
            yield _one(f"bytes: {name}", suffix, _line(suffix, ODD, "@").replace(b"@", text), "bad_encoding")


def _quotes() -> Iterator[TableCase]:
    for suffix in ("tsv", "list"):
        for name, text in {"opening": '"open', "closing": 'close"', "lone": '"', "doubled": '""a""'}.items():
            yield _one(f"quote: {name}", suffix, _line(suffix, ODD, text), "ok", text)
    yield _one("quote: doubled", "csv", _line("csv", ODD, '"say ""so"""'), "ok", 'say "so"')
    yield _one("quote: a line break inside", "csv", _line("csv", ODD, '"one\ntwo"'), "ok", "one\ntwo")
    yield TableCase("quote: torn (csv)", "csv", _table("csv", _line("csv", ODD, '"open')), "not CSV")
    yield TableCase("quote: in the middle (csv)", "csv", _table("csv", _line("csv", ODD, '"so" he said')), "not CSV")


def _fields() -> Iterator[TableCase]:
    for suffix in ("csv", "tsv", "list"):
        yield _one("a field less", suffix, b"alone", "bad_line")
        tab = b"," if suffix == "csv" else b"\t"
        yield _one("a field more", suffix, _line(suffix, ODD, "odd") + tab + b"more", "bad_line")
        yield _one("no address", suffix, _line(suffix, "", "odd"), "no_url")
        yield _one("NA", suffix, _line(suffix, ODD, "NA"), "ok", "NA")
    yield TableCase("a head that someone put there (list)", "list", b"caption\turl\n" + _table("list"), ("ok", "ok"))
    yield TableCase("nothing (list)", "list", b"", "holds no row")
    yield TableCase("a head alone (csv)", "csv", b"caption,url\n", "holds no row")
    yield TableCase("a column twice (csv)", "csv", b"caption,url,url\nx,y,z\n", "stands twice")
    yield TableCase("no column of addresses (list)", "list", b"one\ttwo\nthree\tfour\n", "cannot be told")


def _json() -> Iterator[TableCase]:
    def record(caption: str) -> bytes:
        return f'{{"url": "{ODD}", "caption": {caption}}}'.encode()

    for name, (text, outcome) in {
        "NaN": ("NaN", "caption_not_text"),
        "a number beyond 2**63": ("18446744073709551617", "caption_not_text"),
        "a number of 5,000 digits": ("9" * 5000, "bad_line"),
        "null": ("null", "no_caption"),
        "an object": ('{"en": "x"}', "caption_not_text"),
        "a list": ('["odd", "two"]', "ok"),
        "a list with a null": ('["odd", null]', "caption_not_text"),
        "half of a pair": ('"\\ud83d"', "caption_not_text"),
        "a tab and a line break": ('"a\\tb\\nc"', "ok"),
        "nested 100,000 deep": ("[" * 100_000 + "]" * 100_000, "bad_line"),
        "the key twice": ('"x", "caption": "y"', "bad_line"),
        "a trailing comma": ('"x",', "bad_line"),
        "cut off": ('"x', "bad_line"),
        "another object behind": ('"x"} {"url": "y"', "bad_line"),
    }.items():
        yield _one(f"JSON: {name}", "jsonl", record(text), outcome)
    yield _one("JSON: keys more and less", "jsonl", b'{"caption": "x", "more": 1}', "no_url")
    yield TableCase("JSON: nested 100,000 deep (json)", "json", b"[" * 100_000, "not JSON that can be read")
    yield TableCase(
        "JSON: columns of two lengths (json)", "json", b'{"url": ["a", "b"], "caption": ["x"]}', "cannot be told"
    )
    yield TableCase("JSON: a text (json)", "json", b'"https://a.example/"', "expected a list of objects")


def _sizes() -> Iterator[TableCase]:
    def case(name: str, suffix: str, sign: str, times: int, outcome: tuple[str, ...] | str) -> TableCase:
        written = _table(suffix, _line(suffix, ODD, FILL.decode()))
        return TableCase(f"{name} ({suffix})", suffix, written, outcome, None, (sign.encode(), times))

    for suffix in ("csv", "tsv", "list", "jsonl"):
        yield case("a caption of 10 MiB", suffix, "x", 10 * 2**20, ("ok", "caption_too_long", "ok"))
    for suffix in ("tsv", "list", "jsonl"):
        yield case("a line of 40 MiB", suffix, "x", 40 * 2**20, ("ok", "bad_line", "ok"))
    yield case("a line of 40 MiB", "csv", "x", 40 * 2**20, "longer than")
    yield case("a million marks", "jsonl", "\u0301", 1_000_000, ("ok", "caption_too_long", "ok"))


def _parquet() -> Iterator[TableCase]:
    urls = [BEFORE, ODD, AFTER]

    def case(name: str, captions: pa.Array, *outcome: str) -> TableCase:
        stream = io.BytesIO()
        pq.write_table(pa.table({"caption": captions, "url": urls}), stream)
        return TableCase(f"{name} (parquet)", "parquet", stream.getvalue(), outcome)

    broken = pa.Array.from_buffers(pa.string(), 3, pa.array([b"before", b"caf\xe9", b"after"]).buffers())
    yield case("bytes that are no UTF-8", broken, "ok", "bad_encoding", "ok")
    yield case("a null", pa.array(["before", None, "after"]), "ok", "no_caption", "ok")
    yield case("lists", pa.array([["before"], [], ["after"]]), "ok", "no_caption", "ok")
    yield case("a dictionary", pa.array(["before", "odd", "after"]).dictionary_encode(), "ok", "ok", "ok")
    yield case("large strings", pa.array(["before", "odd", "after"], pa.large_string()), "ok", "ok", "ok")
    yield case("bytes", pa.array([b"a", b"b", b"c"]), *["caption_not_text"] * 3)
    whole = case("", pa.array(["a", "b", "c"])).written
    yield TableCase("cut in half (parquet)", "parquet", whole[: len(whole) // 2], "not Parquet")
    yield TableCase("a text (parquet)", "parquet", b"caption,url\n", "not Parquet")


_FAMILIES: tuple[Callable[[], Iterator[TableCase]], ...] = (
    *(_separators_inside, _line_ends, _marks_of_encodings, _bytes_that_are_no_text, _quotes, _fields, _json, _sizes),
    _parquet,
)
