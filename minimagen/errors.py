"""What is told in a line instead of a traceback; any other error is a defect of ours. Knows no command line."""

USER_ERROR_CODE = 2
BUSY_CODE = 75
"""EX_TEMPFAIL of sysexits.h: try again later."""


class UserError(ValueError):
    """What a user has to change: the message names file, key and value, and what was expected; one line per problem."""


class MissingFileError(UserError, FileNotFoundError):
    """A file that a user has to bring, or another command has to make; the message names both."""


class UnavailableError(UserError):
    """A machine that is not ours does not answer for the moment: nothing has to be changed, later it may work."""


class BusyError(RuntimeError):
    """Another process does this work; the message names the lock."""
