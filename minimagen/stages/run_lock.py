"""One process at a time for one piece of work: a lock that the kernel frees when its holder dies, however it dies.

The file tells who holds it. Does not know what it guards.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minimagen.errors import BusyError


class AlreadyRunningError(BusyError):
    """Another process holds the lock; the message names the file and the process."""


@contextmanager
def run_lock(path: Path) -> Iterator[None]:
    """Holds the lock while the block runs.

    Raises:
        AlreadyRunningError: at once, if another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunningError(f"{path}: held by process {path.read_text().strip() or 'unknown'}") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
