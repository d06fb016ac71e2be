"""Files that are either whole or absent: write beside, flush to disk, rename.

Knows no format. Every durable file of the project is written through here, and all that changes the disk is a call of a
function of ``os``: a test that counts, refuses or tears those sees every boundary between two of them.
"""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from minimagen.errors import UserError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

WRITE_BYTES = 1 << 20
"""What is collected of small writes before it is handed to the system."""


def sha256_bytes(content: bytes) -> str:
    """Returns the SHA-256 of ``content`` in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync_folder(path: Path) -> None:
    """Makes the renames inside a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Makes a folder and those above it, where they are missing, durably: what is in it cannot vanish with its name."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def write_durable(path: Path, content: bytes) -> None:
    """Writes ``content`` and returns once it is on the disk; the file may be torn if the machine dies meanwhile."""
    with _writing(path) as stream:
        stream.write(content)


def copy_durable(source: Path, target: Path) -> None:
    """Copies a file and returns once the copy is on the disk; it may be torn if the machine dies meanwhile."""
    with source.open("rb") as original, _writing(target) as stream:
        shutil.copyfileobj(original, stream, WRITE_BYTES)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Opens a file beside ``path`` for what is written in pieces, and puts it in its place at the end of the block.

    Raises:
        OSError: the disk refused; as after any error in the block, the old file is untouched, the new one removed.
    """
    make_folder(path.parent)
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        with _writing(temporary) as stream:
            yield stream
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_atomic(path: Path, content: bytes) -> None:
    """Replaces ``path`` by ``content``: afterwards, or after a crash, it holds all of the old or all of the new.

    Raises:
        OSError: the disk refused; the old file is untouched and the temporary one is removed.
    """
    with replacing(path) as stream:
        stream.write(content)


def write_private(path: Path, text: str) -> None:
    """Replaces ``path`` by a text that its owner alone may read, at every moment of its being."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600, exist_ok=False)
    temporary.write_text(text)
    temporary.replace(path)


def canonical_json(record: object) -> str:
    """Returns JSON with sorted keys and no spaces, so that equal records have equal bytes; NaN is refused."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)


def read_json(path: Path) -> Any:
    """Reads a JSON file that anybody may have written.

    Raises:
        FileNotFoundError: there is none.
        UserError: it is not JSON, or nested deeper or with longer numbers than Python reads.
    """
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON: {error}") from error


def write_json(path: Path, record: object) -> None:
    """Writes readable JSON with sorted keys, atomically; NaN is refused."""
    write_atomic(path, (json.dumps(record, indent=2, sort_keys=True, allow_nan=False) + "\n").encode())


class _File(io.FileIO):
    """A file whose every write is one call of ``os.write``."""

    def write(self, content: "ReadableBuffer", /) -> int:
        try:
            return os.write(self.fileno(), content)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.name)) from error


@contextmanager
def _writing(path: Path) -> Iterator[BinaryIO]:
    """Opens a new file, which is on the disk once the block has ended."""
    with io.BufferedWriter(_File(path, "wb", opener=_open), WRITE_BYTES) as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())


def _open(path: str, flags: int) -> int:
    return os.open(path, flags, 0o666)
