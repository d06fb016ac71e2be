"""Lines of text files of unknown origin: UTF-8 or a complaint, split where the format says and nowhere else.

Knows no column. No line is merged with another and none is repaired; none longer than MAX_LINE_BYTES is held in memory.
"""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, TextIO

from minimagen.config import ConfigError
from minimagen.rows import Rejection

MAX_LINE_BYTES = 16 * 2**20
"""A longer line is no record that anyone meant."""
UTF8_MARK = b"\xef\xbb\xbf"
_OTHER_MARKS = {b"\xff\xfe": "UTF-16 or UTF-32", b"\xfe\xff": "UTF-16", b"\x00\x00\xfe\xff": "UTF-32"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line, or for CSV one record, which may go over several."""

    number: int
    """From 1, as an editor counts; of the record's last line."""
    text: str


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one record."""

    number: int
    values: list[str]


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be read."""

    number: int
    rejection: Rejection
    """bad_line, or bad_encoding for bytes that are no UTF-8."""


def text_lines(path: Path) -> Iterator[Line | BadLine]:
    """Yields the lines of a file with their line feeds, split at line feeds only; a byte order mark is left out.

    Raises:
        ConfigError: the file is UTF-16 or UTF-32.
    """
    skipped = len(UTF8_MARK) if has_mark(path) else 0
    with path.open("rb") as stream:
        stream.seek(skipped)
        for number, line in enumerate(bounded_lines(stream), start=1):
            if len(line) > MAX_LINE_BYTES:
                yield BadLine(number, Rejection("bad_line", f"longer than {MAX_LINE_BYTES} bytes"))
                continue
            try:
                yield Line(number, line.decode("utf-8"))
            except UnicodeDecodeError as error:
                yield BadLine(number, Rejection("bad_encoding", describe_encoding(error)))


def tsv_lines(path: Path) -> Iterator[Fields | BadLine]:
    """Yields one record per line that is not empty, fields between tabs; a quote is a character like any other."""
    for line in text_lines(path):
        if isinstance(line, BadLine):
            yield line
        elif bare := line.text.removesuffix("\n").removesuffix("\r"):
            yield Fields(line.number, bare.split("\t"))


def csv_lines(path: Path) -> Iterator[Fields | BadLine]:
    """Yields the records of RFC 4180: a field may hold commas, quotes and line breaks between quotes.

    Raises:
        ConfigError: a quote is torn, so that what follows cannot be told apart into records; no quote is guessed.
    """
    has_mark(path)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream, _long_fields():
        reader = csv.reader(_bounded_text(path, stream), strict=True)
        try:
            for values in reader:
                if values:
                    complaint = next(filter(None, map(_not_utf8, values)), None)
                    yield Fields(reader.line_num, values) if complaint is None else BadLine(reader.line_num, complaint)
        except csv.Error as error:
            raise ConfigError(f"{path}: line {reader.line_num}: not CSV: {error}") from error


def bounded_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yields lines; of one that is too long only its beginning, which is longer than MAX_LINE_BYTES."""
    for line in iter(partial(stream.readline, MAX_LINE_BYTES + 1), b""):
        yield line
        rest = line
        while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = stream.readline(MAX_LINE_BYTES + 1)


def has_mark(path: Path) -> bool:
    """Tells whether a file begins with the byte order mark of UTF-8.

    Raises:
        ConfigError: it begins with that of another encoding.
    """
    with path.open("rb") as stream:
        beginning = stream.read(4)
    for mark, name in _OTHER_MARKS.items():
        if beginning.startswith(mark):
            raise ConfigError(f"{path}: line 1: not UTF-8 but {name}: write it as UTF-8")
    return beginning.startswith(UTF8_MARK)


def describe_encoding(error: UnicodeDecodeError) -> str:
    """Returns what is wrong with bytes that are no UTF-8, in a few words."""
    return f"not UTF-8 (byte {error.object[error.start]:#04x})"


def _not_utf8(text: str) -> Rejection | None:
    """Tells whether a text decoded with "surrogateescape" had a byte that is no UTF-8."""
    if text.isascii():
        return None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return Rejection("bad_encoding", f"not UTF-8 (byte {ord(text[error.start]) - 0xDC00:#04x})")
    return None


@contextmanager
def _long_fields() -> Iterator[None]:
    """Lets fields be long: a caption that is too long is rejected later, on its own."""
    before = csv.field_size_limit(MAX_LINE_BYTES)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _bounded_text(path: Path, stream: TextIO) -> Iterator[str]:
    for number, line in enumerate(iter(partial(stream.readline, MAX_LINE_BYTES), ""), start=1):
        if len(line) == MAX_LINE_BYTES:
            raise ConfigError(f"{path}: line {number}: longer than {MAX_LINE_BYTES} characters")
        yield line
