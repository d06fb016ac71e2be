"""The bytes of one answer, however many: in memory while they are few, in an unnamed file after that.

So many answers at a time cost little memory whatever hosts send. The kernel takes the file back when its holder dies.
"""

import errno
import tempfile
from pathlib import Path
from typing import IO

_IN_MEMORY_BYTES = 128 * 2**10
_START_BYTES = 16


class Body:
    """What came of an answer so far."""

    def __init__(self, folder: Path) -> None:
        """Args: folder: where the unnamed file is, if there has to be one."""
        self._folder, self._num_bytes = folder, 0
        self._memory = bytearray()
        self._file: IO[bytes] | None = None

    def __len__(self) -> int:
        return self._num_bytes

    @property
    def start(self) -> bytes:
        """The first bytes, enough to tell a format."""
        return bytes(self._memory[:_START_BYTES])

    def add(self, piece: bytes) -> None:
        """Appends what came."""
        self._num_bytes += len(piece)
        if self._file is None and self._num_bytes > _IN_MEMORY_BYTES:
            # Without a buffer of its own it is read in one piece, not in two that are joined.
            self._file = tempfile.TemporaryFile(buffering=0, dir=self._folder)  # noqa: SIM115
            self._write(self._memory)
            del self._memory[_START_BYTES:]
        if self._file is None:
            self._memory += piece
        else:
            self._write(piece)

    def read(self) -> bytes:
        """Returns all of it."""
        if self._file is None:
            return bytes(self._memory)
        self._file.seek(0)
        return self._file.read()

    def _write(self, piece: bytes | bytearray) -> None:
        assert self._file is not None
        if self._file.write(piece) != len(piece):
            raise OSError(errno.ENOSPC, "No space left for the rest of an answer")

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()
