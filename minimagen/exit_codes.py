"""How a command ends: what the user has to change is a line and an exit code, a defect is a traceback."""

import sys
from collections.abc import Callable

from minimagen.errors import (
    BUSY_CODE,
    CRASH_LOOP_CODE,
    DISK_CODE,
    USER_ERROR_CODE,
    BusyError,
    CrashLoopError,
    UserError,
    is_of_disk,
)


def tell_errors(run: Callable[[], object]) -> None:
    """Runs something and ends the process with what it told.

    2 for what a user has to change, 75 for a lock, 74 for a disk that refuses, 70 for a step that failed three times.
    """
    try:
        run()
    except (UserError, BusyError, CrashLoopError, OSError) as error:
        code = _exit_code(error)
        if code is None:
            raise
        for line in str(error).splitlines():
            sys.stderr.write(f"{line}\n")
        sys.exit(code)


def _exit_code(error: Exception) -> int | None:
    """Returns the exit code for what is told in a line; None for a defect, which is told with its traceback."""
    if isinstance(error, UserError):
        return USER_ERROR_CODE
    if isinstance(error, BusyError):
        return BUSY_CODE
    if isinstance(error, CrashLoopError):
        return CRASH_LOOP_CODE
    return DISK_CODE if is_of_disk(error) else None
