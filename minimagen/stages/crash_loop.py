"""Crash loops: a training whose same step has failed three times in a row is not started a fourth time.

One line in a file tells which step is being done. A process that ends in order removes it, one that dies leaves it.
Being killed before the first step counts for nothing. Knows no training.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from minimagen.errors import BusyError, CrashLoopError, UserError, is_of_disk

logger = logging.getLogger(__name__)

MAX_FAILURES = 3
_LINE = "{:012d} {:012d} {:03d}\n"
"""The step being done (0 before the first), the one that failed last, and how often in a row."""


class Attempt:
    """One process's try at a training."""

    def __init__(self, descriptor: int, failed_step: int, num_failures: int) -> None:
        """Use ``attempt``."""
        self._descriptor = descriptor
        self._failed_step, self._num_failures = failed_step, num_failures
        self.step = 0
        """The one being done; 0 before the first."""

    def begin(self, step: int) -> None:
        """Remembers which step is being done, if this process dies in it; a disk that refuses is passed over."""
        self.step = step
        with suppress(OSError):
            os.pwrite(self._descriptor, _LINE.format(step, self._failed_step, self._num_failures).encode(), 0)

    @property
    def is_hopeless(self) -> bool:
        """Whether a failure now would be the third of the same step."""
        return self.step == self._failed_step != 0 and self._num_failures + 1 >= MAX_FAILURES


@contextmanager
def attempt(path: Path) -> Iterator[Attempt]:
    """Counts the block as a try, remembered in the file ``path``.

    Raises:
        CrashLoopError: at once, if the same step has failed three times; or instead of the error that is the third.
    """
    failed_step, num_failures = _failure(path)
    if num_failures >= MAX_FAILURES:
        raise CrashLoopError(_complaint(path, failed_step))
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    current = Attempt(descriptor, failed_step, num_failures)
    try:
        current.begin(0)
        yield current
    except Exception as error:
        if isinstance(error, UserError | BusyError) or is_of_disk(error):
            path.unlink(missing_ok=True)
        elif current.is_hopeless:
            logger.exception("step %d failed", current.step)
            raise CrashLoopError(_complaint(path, current.step)) from error
        raise
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    else:
        path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _failure(path: Path) -> tuple[int, int]:
    """Returns which step has failed last, and how often in a row; (0, 0) if none."""
    try:
        step, failed_step, num_failures = map(int, path.read_text().split())
    except (FileNotFoundError, ValueError):
        return 0, 0  # nobody died, or a disk that refused
    if step == 0:
        return failed_step, num_failures
    return (step, num_failures + 1) if step == failed_step else (step, 1)


def _complaint(path: Path, step: int) -> str:
    return (
        f"step {step} has failed {MAX_FAILURES} times in a row, so it is not tried again: look at what the earlier "
        f"tries told (memory?); delete {path} to try again all the same, or set MINIMAGEN_FRESH=1 to start afresh"
    )
