"""One process at a time for one piece of work: a lock that the kernel frees when its holder dies, however it dies.

The file tells who holds it. Does not know what it guards.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minimagen.errors import BusyError

_EARLY: dict[Path, int] = {}
"""Descriptors of locks that this process holds for a ``run_lock`` to come."""


class AlreadyRunningError(BusyError):
    """Another process holds the lock; the message names the file and the process."""


@contextmanager
def run_lock(path: Path) -> Iterator[None]:
    """Holds the lock while the block runs.

    Raises:
        AlreadyRunningError: at once, if another process holds it.
    """
    early = _EARLY.pop(path.resolve(), None)
    descriptor = _lock(path) if early is None else early
    try:
        yield
    finally:
        os.close(descriptor)


def lock_early(path: Path) -> None:
    """Takes a lock for this process's next ``run_lock`` of that path: a command loads for seconds before it gets there.

    Raises:
        AlreadyRunningError: at once, if another process holds it.
    """
    _EARLY[path.resolve()] = _lock(path)


def stage_lock(root: Path, stage: str, name: str | None = None) -> Path:
    """Returns the lock of a stage, or of its part for one source or U-Net.

    Args:
        root: whose ``runs`` the stage writes.
    """
    return root / "runs" / stage / f"{name or stage}.lock"


def _lock(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise AlreadyRunningError(f"{path}: held by process {path.read_text().strip() or 'unknown'}") from error
        raise
    return descriptor
