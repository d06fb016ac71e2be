"""The spool of one shard: what came of each address, kept the moment it is known, until the shard is written.

A killed process loses only what it was about to keep, and leaves the addresses of the pictures that it was decoding:
one of them may be what it died of. Knows no row and no network.

A file that only ever grows: a line that says which work it is of, then records, each of

    length, CRC-32      of what follows, 4 bytes each, little-endian
    JSON, line feed     [address] of a suspect, [address, reason, detail] of a refusal, or the fields of a picture
    content             of a picture

What a kill or the disk left half written is cut off with all that follows; a spool of other work (another list, other
rules) is begun anew. It may be deleted at any time.
"""

import errno
import json
import logging
import os
import struct
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO

from minimagen.rows import Rejection
from minimagen.sources.decoding_notes import DecodingNotes, read_notes
from minimagen.sources.images import NormalisedImage

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
_HEAD = struct.Struct("<II")
_FACTS = tuple(one.name for one in fields(NormalisedImage) if one.name != "content")
_facts_of = attrgetter(*_FACTS)
_SHA256 = 1 + _FACTS.index("sha256")

Verdicts = dict[str, str | Rejection]
"""For each address the SHA-256 of the file that came, or why none did."""


@dataclass(frozen=True, slots=True)
class _Picture:
    """The facts of a picture, and where its content stands."""

    facts: Sequence[object]
    end: int
    num_bytes: int


@dataclass(slots=True)
class Spool:
    """An open spool; made by ``open_spool``."""

    _descriptor: int
    _end: int
    notes: DecodingNotes = field(init=False)
    """Of what is decoded now."""
    suspects: set[str] = field(default_factory=set)
    """Addresses of the pictures that processes were decoding when they were killed, or died of them."""
    _verdicts: Verdicts = field(default_factory=dict)
    _pictures: dict[str, _Picture] = field(default_factory=dict)

    def keep(self, url: str, outcome: NormalisedImage | Rejection) -> None:
        """Keeps what came of an address; once this returns, no kill of the process loses it."""
        assert url not in self._verdicts, f"{url} has two outcomes"
        if isinstance(outcome, Rejection):
            self._append([url, outcome.reason, outcome.detail])
            self._verdicts[url] = outcome
        else:
            facts = _facts_of(outcome)
            self._append([url, *facts], outcome.content)
            self._pictures[url] = _Picture(facts, self._end, len(outcome.content))
            self._verdicts[url] = outcome.sha256

    def take_over(self, outcomes: Iterable[tuple[str, NormalisedImage | Rejection]], urls: Collection[str]) -> None:
        """Keeps what is known from elsewhere of those of some addresses that nothing is kept of yet."""
        missing = set(urls) - self._verdicts.keys()
        for url, outcome in outcomes:
            if url in missing:
                missing.remove(url)
                self.keep(url, outcome)

    def suspect(self, url: str) -> None:
        """Keeps that a process may have died of a picture."""
        if url not in self.suspects:
            self._append([url])
            self.suspects.add(url)

    def verdicts(self) -> Verdicts:
        """Returns what is kept of each address."""
        return self._verdicts

    def picture(self, url: str) -> NormalisedImage:
        """Returns the picture that came from an address."""
        kept = self._pictures[url]
        content = os.pread(self._descriptor, kept.num_bytes, kept.end - kept.num_bytes)
        return NormalisedImage(content, *kept.facts)  # pyright: ignore[reportArgumentType]

    def _append(self, facts: list[object], content: bytes = b"") -> None:
        payload = json.dumps(facts).encode() + b"\n" + content
        record = _HEAD.pack(len(payload), zlib.crc32(payload)) + payload
        if os.pwrite(self._descriptor, record, self._end) != len(record):
            raise OSError(errno.ENOSPC, "No space left for the spool")
        self._end += len(record)

    def read(self, stream: BinaryIO) -> None:
        """Takes in what an earlier process kept, from the first record on; cuts off what is not whole."""
        size = stream.seek(0, os.SEEK_END)
        stream.seek(self._end)
        while (payload := _next_record(stream, size - self._end)) is not None:
            line, _, content = payload.partition(b"\n")
            [url, *facts] = json.loads(line)
            self._end += _HEAD.size + len(payload)
            if not facts:
                self.suspects.add(url)
            elif len(facts) == 2:
                self._verdicts[url] = Rejection(*facts)
            else:
                self._verdicts[url] = facts[_SHA256 - 1]
                self._pictures[url] = _Picture(facts, self._end, len(content))
        os.ftruncate(self._descriptor, self._end)


@contextmanager
def open_spool(path: Path, fingerprint: str) -> Iterator[Spool]:
    """Opens the spool of some work, or begins it.

    Args:
        fingerprint: of all that the outcomes depend on beside the hosts.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    title = f"spool {FORMAT_VERSION} {fingerprint}\n".encode()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if os.pread(descriptor, len(title), 0) != title:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, title, 0)
            notes_path(path).unlink(missing_ok=True)
        spool = Spool(descriptor, len(title))
        with os.fdopen(os.dup(descriptor), "rb") as stream:
            spool.read(stream)
        for url in read_notes(notes_path(path)):
            spool.suspect(url)
        with DecodingNotes(notes_path(path)) as spool.notes:
            yield spool
    finally:
        os.close(descriptor)


def spool_path(state: Path, name: str) -> Path:
    """Returns where the spool of the shard ``name`` stands below ``runs/ingest/<source>``."""
    return state / "spool" / f"{name}.spool"


def notes_path(path: Path) -> Path:
    """Returns where the notes of what is being decoded stand, beside the spool."""
    return path.with_name(f"{path.name}-notes")


def remove_spool(path: Path) -> None:
    """Deletes a spool, its notes first: killed in between, the spool is found again, notes alone would not be."""
    notes_path(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _next_record(stream: BinaryIO, num_left: int) -> bytes | None:
    """Returns what follows a head; None at the end, or where a record is not whole."""
    if num_left < _HEAD.size:
        return None
    length, checksum = _HEAD.unpack(stream.read(_HEAD.size))
    payload = stream.read(length) if length <= num_left - _HEAD.size else b""
    return payload if len(payload) == length and zlib.crc32(payload) == checksum else None
