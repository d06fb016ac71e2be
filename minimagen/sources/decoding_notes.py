"""Which pictures a process is decoding, noted where it outlives the process: who dies of one leaves its address.

The notes are a page of a file that the kernel keeps however the process ends; they cost no system call. Knows no
picture. A machine that dies loses them, which costs nothing: it did not die of a picture.
"""

import mmap
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

NUM_PLACES = 2
_LENGTH = struct.Struct("<I")
_PLACE_BYTES = 2**14
_MOST = _PLACE_BYTES - _LENGTH.size


class DecodingNotes:
    """Notes of one process; a context manager, at whose end nothing is noted any more."""

    def __init__(self, path: Path) -> None:
        """Takes over the file ``path``, which may be absent."""
        with path.open("wb") as stream:
            stream.truncate(NUM_PLACES * _PLACE_BYTES)
        with path.open("r+b") as stream:
            self._memory = mmap.mmap(stream.fileno(), NUM_PLACES * _PLACE_BYTES)

    def set(self, place: int, url: str) -> None:
        """Notes what is decoded now; each of ``NUM_PLACES`` things at a time has a place."""
        content, start = url.encode("utf-8", "surrogatepass")[:_MOST], place * _PLACE_BYTES
        self._memory[start + _LENGTH.size : start + _LENGTH.size + len(content)] = content
        _LENGTH.pack_into(self._memory, start, len(content))

    def clear(self, place: int) -> None:
        """Notes that it is done."""
        _LENGTH.pack_into(self._memory, place * _PLACE_BYTES, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for place in range(NUM_PLACES):
            self.clear(place)
        self._memory.close()


def read_notes(path: Path) -> list[str]:
    """Returns what the file says was being decoded when its process ended; nothing if there is no such file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    if len(content) != NUM_PLACES * _PLACE_BYTES:
        return []
    starts = range(0, len(content), _PLACE_BYTES)
    pieces = [content[at + _LENGTH.size :][: min(_MOST, _LENGTH.unpack_from(content, at)[0])] for at in starts]
    return [piece.decode("utf-8", "surrogatepass") for piece in pieces if piece]
