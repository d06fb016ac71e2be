"""A lock on a file that the kernel frees when its holder dies, however it dies. Knows nothing of what it guards."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minimagen.errors import BusyError


class LockedError(BusyError):
    """Another process holds the lock; the message names the file."""


@contextmanager
def exclusive(path: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Holds the lock while the block runs.

    Raises:
        LockedError: another process still holds it after ``wait_s``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_s
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise LockedError(f"{path}: held by another process") from error
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Returns whether some process holds the lock at this moment."""
    if not path.exists():
        return False
    try:
        with exclusive(path):
            return False
    except LockedError:
        return True
