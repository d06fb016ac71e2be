"""Files that are either whole or absent: write beside, flush to disk, rename.

Knows no format. Every durable file of the project is written through here.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from minimagen.errors import UserError


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


def write_durable(path: Path, content: bytes) -> None:
    """Writes ``content`` and returns once it is on the disk; the file may be torn if the machine dies meanwhile."""
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Opens a file beside ``path`` for what is written in pieces, and puts it in its place at the end of the block.

    Raises:
        OSError: the disk refused; as after any error in the block, the old file is untouched, the new one removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
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
