"""An append-only record of one run: metrics, pictures, parameters, events; whole lines survive any crash.

One JSON object per line, led by the CRC-32 of the rest of the line. The first line tells the format and how often the
journal was rewound. Does not know what the entries mean or who reads them.

One process writes a journal at a time (the stage's run lock sees to that), from one thread; any number may read it
meanwhile. The values of each kind, by convention of writers and readers:

    metric    name -> number
    param     name -> value            of the run, known at its start; step 0
    tag       name -> text
    image     path, key, caption       path relative to the journal's folder
    artifact  path, folder             a file to keep with the run; path relative to the journal's folder
    event     event, and what belongs to it
"""

import json
import logging
import math
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, get_args

from minimagen.errors import UserError
from minimagen.files import canonical_json, sync_folder, write_atomic

logger = logging.getLogger(__name__)

FORMAT = 1
Kind = Literal["metric", "param", "tag", "image", "artifact", "event"]
Value = float | int | str

_HEADER = "journal"
_KINDS = frozenset(get_args(Kind))
_PREFIX_BYTES = len(b'{"crc32":"01234567",')


class JournalError(UserError):
    """A journal that cannot be trusted; the message names the file and the line."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened. ``time_s`` is the wall clock, seconds since 1970; order is the order of the file."""

    kind: Kind
    step: int
    time_s: float
    values: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Located:
    """An entry, and the byte of the file at which the next one starts."""

    entry: Entry
    end_bytes: int


class Journal:
    """The writing end of a journal. Every append reaches the operating system, ``sync`` makes them reach the disk."""

    def __init__(self, path: Path, descriptor: int, end: "_End", clock: Callable[[], float]) -> None:
        """Use ``Journal.open``."""
        self.path = path
        self._descriptor = descriptor
        self._size_bytes = end.size_bytes
        self._last_step = end.last_step
        self._clock = clock

    @property
    def last_step(self) -> int:
        """The latest step of any entry; 0 where there is none."""
        return self._last_step

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], float] = time.time) -> Self:
        """Opens a journal for appending, a new one if there is none; an incomplete last line is cut off and logged.

        Raises:
            JournalError: a line before the end is corrupt, or the file is not a journal of this format.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            end = _find_end(path)
            torn_bytes = os.fstat(descriptor).st_size - end.size_bytes
            if torn_bytes:
                logger.warning("%s: dropped an incomplete last line (%d bytes)", path, torn_bytes)
                os.ftruncate(descriptor, end.size_bytes)
            journal = cls(path, descriptor, end, clock)
            if end.size_bytes == 0:
                journal._write(_header_line(0, clock()))
                journal.sync()
                sync_folder(path.parent)
            return journal
        except BaseException:
            os.close(descriptor)
            raise

    def append(self, kind: Kind, step: int, values: Mapping[str, Value]) -> None:
        """Adds one entry; it survives the death of this process, and that of the machine after ``sync``.

        Args:
            step: optimiser steps done, >= 0. Write all entries of a step before that step's state is saved.

        Raises:
            ValueError: a number is not finite, a value is neither number nor text (a metric: no number), or kind or
                step is invalid.
            OSError: the disk refused; the journal is as it was before the call.
        """
        if kind not in _KINDS:
            raise ValueError(f"{self.path}: unknown kind {kind!r}, expected one of {', '.join(sorted(_KINDS))}")
        if step < 0:
            raise ValueError(f"{self.path}: step {step} of a {kind} entry is negative")
        for name, value in values.items():
            _check_value(self.path, kind, step, name, value)
        self._write(_line(kind, step, self._clock(), values))
        self._last_step = max(self._last_step, step)

    def sync(self) -> None:
        """Returns once everything appended is on the disk."""
        os.fsync(self._descriptor)

    def rewind(self, step: int) -> int:
        """Drops every entry of a later step, in one atomic rewrite, and adds an event that says so.

        For a run that resumes from the state it saved at ``step``. Nothing happens if no entry is later.

        Returns:
            How many entries were dropped.
        """
        entries = list(read_journal(self.path))
        kept = [entry for entry in entries if entry.step <= step]
        dropped = len(entries) - len(kept)
        if dropped == 0:
            return 0
        lines = [_header_line(count_rewinds(self.path) + 1, self._clock())]
        lines += [_line(entry.kind, entry.step, entry.time_s, entry.values) for entry in kept]
        lines.append(_line("event", step, self._clock(), {"event": "rewind", "dropped": dropped}))
        write_atomic(self.path, b"".join(lines))
        os.close(self._descriptor)
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        self._size_bytes = os.fstat(self._descriptor).st_size
        self._last_step = step
        logger.info("%s: rewound to step %d, %d entries dropped", self.path, step, dropped)
        return dropped

    def close(self) -> None:
        """Syncs and closes; nothing can be appended afterwards."""
        self.sync()
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, line: bytes) -> None:
        try:
            written = 0
            while written < len(line):
                written += os.write(self._descriptor, line[written:])
        except OSError:
            os.ftruncate(self._descriptor, self._size_bytes)
            raise
        self._size_bytes += len(line)


def read_journal(path: Path) -> Iterator[Entry]:
    """Yields the entries of a journal in order, one at a time; an incomplete last line is left out.

    Raises:
        FileNotFoundError: there is no such journal.
        JournalError: a line before the end is corrupt, or the file is not a journal of this format.
    """
    for located in read_located(path):
        yield located.entry


def read_located(path: Path, start_bytes: int = 0) -> Iterator[Located]:
    """Yields entries as ``read_journal`` does, from the byte at which an earlier one ended."""
    for number, (content, end_bytes) in enumerate(_whole_lines(path, start_bytes)):
        if start_bytes == 0 and number == 0:
            _check_header(path, content)
        else:
            yield Located(_entry(path, content), end_bytes)


def count_rewinds(path: Path) -> int:
    """Returns how often a journal was rewound; where this has changed, remembered byte positions are void.

    Raises:
        FileNotFoundError: there is no such journal.
        JournalError: the file is not a journal of this format, or has not got its first line yet.
    """
    for content, _ in _whole_lines(path, 0):
        return _check_header(path, content)
    raise JournalError(f"{path}: empty, not a journal yet")


def whole_bytes(path: Path) -> int:
    """Returns how many bytes of a journal are whole lines; the rest, if any, is a last line that was torn.

    Raises:
        JournalError: a line before the end is corrupt, or the file is not a journal of this format.
    """
    return _find_end(path).size_bytes


def _whole_lines(path: Path, start_bytes: int) -> Iterator[tuple[dict[str, object], int]]:
    """Yields the content of each line whose checksum holds, and where it ends; a bad line may only be at the end."""
    bad_at: int | None = None
    end_bytes = start_bytes
    with path.open("rb") as stream:
        stream.seek(start_bytes)
        for line in stream:
            content = _verified(line)
            if content is None:
                bad_at = end_bytes if bad_at is None else bad_at
            elif bad_at is not None:
                raise JournalError(f"{path}: line {_line_number(path, bad_at)} is corrupt (its checksum does not hold)")
            end_bytes += len(line)
            if content is not None:
                yield content, end_bytes


def _verified(line: bytes) -> dict[str, object] | None:
    body = line[_PREFIX_BYTES:]
    if not line.endswith(b"\n") or line[:_PREFIX_BYTES] != _prefix(body):
        return None
    content = json.loads(b"{" + body)
    return content if isinstance(content, dict) else None


@dataclass(frozen=True, slots=True)
class _End:
    size_bytes: int
    last_step: int


def _find_end(path: Path) -> _End:
    size_bytes, last_step = 0, 0
    for content, line_end in _whole_lines(path, 0):
        if size_bytes == 0:
            _check_header(path, content)
        else:
            last_step = max(last_step, _entry(path, content).step)
        size_bytes = line_end
    return _End(size_bytes, last_step)


def _line_number(path: Path, at_bytes: int) -> int:
    with path.open("rb") as stream:
        return stream.read(at_bytes).count(b"\n") + 1


def _prefix(body: bytes) -> bytes:
    return b'{"crc32":"%08x",' % zlib.crc32(body)


def _line(kind: str, step: int, time_s: float, values: Mapping[str, Value]) -> bytes:
    content = canonical_json({"kind": kind, "step": step, "time_s": time_s, "values": dict(values)})
    body = content[1:].encode() + b"\n"
    return _prefix(body) + body


def _header_line(rewinds: int, time_s: float) -> bytes:
    return _line(_HEADER, 0, time_s, {"format": FORMAT, "rewinds": rewinds})


def _check_header(path: Path, content: dict[str, object]) -> int:
    values = content.get("values")
    if content.get("kind") != _HEADER or not isinstance(values, dict):
        raise JournalError(f"{path}: line 1 is not the head of a journal")
    if values.get("format") != FORMAT:
        raise JournalError(f"{path}: line 1 says format {values.get('format')!r}, this program reads format {FORMAT}")
    return values["rewinds"]


def _entry(path: Path, content: dict[str, object]) -> Entry:
    try:
        return Entry(**content)  # pyright: ignore[reportArgumentType]
    except TypeError as error:
        raise JournalError(f"{path}: an entry has other fields than kind, step, time_s, values") from error


def _check_value(path: Path, kind: str, step: int, name: str, value: object) -> None:
    where = f"{path}: {kind} {name!r} of step {step}"
    allowed = float | int if kind == "metric" else float | int | str
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise ValueError(f"{where} is {value!r}, expected a number{'' if kind == 'metric' else ' or text'}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{where} is {value}, expected a finite number")
