"""What is told in a line instead of a traceback; any other error is a defect of ours. Knows no command line."""

import errno
from pathlib import Path

USER_ERROR_CODE = 2
CRASH_LOOP_CODE = 70
"""EX_SOFTWARE of sysexits.h: trying again does not help."""
DISK_CODE = 74
"""EX_IOERR of sysexits.h: the disk is full, read-only or broken."""
BUSY_CODE = 75
"""EX_TEMPFAIL of sysexits.h: try again later."""
_DISK_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG})


class UserError(ValueError):
    """What a user has to change: the message names file, key and value, and what was expected; one line per problem."""


class MissingFileError(UserError, FileNotFoundError):
    """A file that a user has to bring, or another command has to make; the message names both."""


class UnavailableError(UserError):
    """A machine that is not ours does not answer for the moment: nothing has to be changed, later it may work."""


class BusyError(RuntimeError):
    """Another process does this work; the message names the lock."""


class CrashLoopError(RuntimeError):
    """The same step has failed three times; the message names it and the file that remembers it."""


def not_finished(path: Path, stage: str) -> MissingFileError:
    """Returns the error for a file that ``stage`` has not written yet; which stages that takes is for DVC to know."""
    return MissingFileError(f"{path}: no such file: {stage} has not finished: run `dvc repro`")


def is_of_disk(error: BaseException) -> bool:
    """Whether the disk refused: it is full, read-only or broken."""
    return isinstance(error, OSError) and error.errno in _DISK_ERRNOS
