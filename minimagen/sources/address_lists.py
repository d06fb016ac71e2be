"""The lists of Conceptual Captions, a row by its number: TSV without a head, or pairs of JSON made from Parquet.

Knows no place where lists are. A list is never in memory: eight bytes for each row are, which say where it stands.
Bytes are split at line feeds and tabs by hand: readers of CSV take the quotes and the words "NA" and "null" of
captions for their own.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from minimagen.config import ConfigError
from minimagen.rows import Rejection
from minimagen.sources.drawing_order import NO_IDENTITY, Numbers
from minimagen.sources.text_lines import MAX_LINE_BYTES, UTF8_MARK, bounded_lines, describe_encoding, has_mark
from minimagen.sources.url_identity import identity_of
from minimagen.sources.url_tables import UrlRow, url_row

SAMPLE_ROWS = 1000
"""The order of the columns is told by so many rows at the beginning."""
MIN_URL_SHARE = 0.99
_HEADERS = ({b"caption", b"url"}, {b"caption", b"image_url"})
_PIECE_BYTES = 2**24


@dataclass(frozen=True, slots=True)
class ListFile:
    """A list as it lies on the disk."""

    path: Path
    kind: Literal["tsv", "pairs"]
    """Pairs are lines of JSON that we wrote: [address, caption], or {"reason": ..., "detail": ...}."""


class AddressList:
    """An open list; a context manager. Rows are numbered from 0; a head that someone put before them is none."""

    def __init__(self, file: ListFile) -> None:
        """Finds out where each row stands and which column is which.

        Raises:
            ConfigError: the file holds no row, is not UTF-8, or no column is one of addresses.
        """
        self._file, self._starts = file, _line_starts(file.path)
        self._skipped = len(UTF8_MARK) if has_mark(file.path) else 0
        self._first = 0
        """Lines before row 0."""
        self._is_url_first, self._end = True, b""
        if file.kind == "tsv":
            self._look_at_beginning()
        if not len(self):
            raise ConfigError(f"{file.path}: holds no row")
        self._stream = file.path.open("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def __len__(self) -> int:
        return len(self._starts) - 1 - self._first

    def row(self, number: int) -> UrlRow:
        """Returns one row; its ``where`` is "row <number>"."""
        index = number + self._first
        start, end = int(self._starts[index]), int(self._starts[index + 1])
        start += self._skipped if index == 0 else 0
        if end - start > MAX_LINE_BYTES:
            rejection = Rejection("bad_line", f"longer than {MAX_LINE_BYTES} bytes")
            return UrlRow(f"row {number}", "", "", (), rejection)
        return self._parse(number, os.pread(self._stream.fileno(), end - start, start))

    def identities(self) -> Numbers:
        """Returns what tells addresses apart, for each row; NO_IDENTITY for a row without one. Reads the whole file."""
        found = np.full(len(self), NO_IDENTITY, dtype=np.uint64)
        for number, row in enumerate(self._rows()):
            if row.url:
                found[number] = identity_of(row.url)
        return found

    def _rows(self) -> Iterator[UrlRow]:
        with self._file.path.open("rb") as stream:
            stream.seek(self._skipped)
            for number, line in enumerate(islice(bounded_lines(stream), self._first, None)):
                yield self._parse(number, line) if len(line) <= MAX_LINE_BYTES else self.row(number)

    def _parse(self, number: int, line: bytes) -> UrlRow:
        where = f"row {number}"
        bare = line.removesuffix(b"\n")
        try:
            if self._file.kind == "pairs":
                return _row_of_pair(where, json.loads(bare))
            cells = [cell.decode("utf-8") for cell in bare.removesuffix(self._end).split(b"\t")]
        except UnicodeDecodeError as error:
            return UrlRow(where, "", "", (), Rejection("bad_encoding", describe_encoding(error)))
        if len(cells) != 2:
            return UrlRow(where, "", "", (), Rejection("bad_line", f"{len(cells)} fields, expected 2"))
        return url_row(where, "", *(cells if self._is_url_first else reversed(cells)))

    def _look_at_beginning(self) -> None:
        """Tells head, line ends and the order of the columns: CC3M and CC12M have opposite ones."""
        with self._file.path.open("rb") as stream:
            stream.seek(self._skipped)
            lines = list(islice(bounded_lines(stream), SAMPLE_ROWS + 1))
        if lines and {cell.strip().lower() for cell in lines[0].split(b"\t")} in _HEADERS:
            self._first = 1
        lines = [line.removesuffix(b"\n") for line in lines[self._first : self._first + SAMPLE_ROWS]]
        if lines and all(line.endswith(b"\r") for line in lines):
            self._end = b"\r"
        pairs = [cells for line in lines if len(cells := line.split(b"\t")) == 2]
        shares = [_share_of_urls([pair[column] for pair in pairs]) for column in (0, 1)]
        is_column = [share > MIN_URL_SHARE for share in shares]
        if lines and is_column[0] == is_column[1]:
            raise ConfigError(
                f"{self._file.path}: which column has the addresses cannot be told: {len(pairs)} of the first "
                f"{len(lines)} rows have two fields; {shares[0]:.1%} of the first and {shares[1]:.1%} of the second "
                f"begin with http, more than {MIN_URL_SHARE:.0%} of just one column expected"
            )
        self._is_url_first = is_column[0]


def _row_of_pair(where: str, pair: object) -> UrlRow:
    if isinstance(pair, dict):
        return UrlRow(where, "", "", (), Rejection(pair["reason"], pair["detail"]))
    assert isinstance(pair, list)
    return url_row(where, "", *pair)


def _share_of_urls(cells: list[bytes]) -> float:
    """Returns which share of the cells begins like an address; empty ones say nothing."""
    filled = [cell for cell in cells if cell.strip()]
    return sum(cell[:4].lower() == b"http" for cell in filled) / max(1, len(filled))


def _line_starts(path: Path) -> npt.NDArray[np.int64]:
    """Returns where each line begins and, last, where the file ends."""
    starts, position = [np.zeros(1, dtype=np.int64)], 0
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE_BYTES):
            starts.append(np.flatnonzero(np.frombuffer(piece, dtype=np.uint8) == ord("\n")) + (position + 1))
            position += len(piece)
    found = np.concatenate(starts)
    return found if found[-1] == position else np.append(found, position)
