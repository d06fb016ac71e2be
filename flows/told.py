"""Errors in the words of the library: a run that a user can mend ends Failed with these words, without a traceback.

Keys of services stand in no word that a run says. Knows no flow.
"""

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from prefect.client.schemas.objects import State
from prefect.states import Failed

from minimagen.errors import BusyError, UnavailableError, UserError
from minimagen.sources.secrets import RedactingFilter, redacted

P = ParamSpec("P")
R = TypeVar("R")
_HIDING = RedactingFilter()


def is_of_input_or_output(error: object) -> bool:
    """Whether a disk or another machine is the cause, so that trying once more can help."""
    return isinstance(error, UnavailableError) or (isinstance(error, OSError) and not isinstance(error, UserError))


def is_worth_a_retry(_task: object, _run: object, state: State[object]) -> bool:
    """Whether a task that ended so is to be tried once more."""
    return is_of_input_or_output(state.data)


def tells_errors(run: Callable[P, R]) -> Callable[P, R]:
    """Makes an error that a user can mend, or a lock, the Failed state of a flow or a task."""

    @functools.wraps(run)
    def telling(*args: P.args, **kwargs: P.kwargs) -> R:
        hide_keys()
        try:
            return run(*args, **kwargs)
        except (UserError, BusyError) as error:
            return cast(R, _failed(error))

    return telling


def tells_what_no_retry_mends(run: Callable[P, R]) -> Callable[P, R]:
    """As ``tells_errors``, for a task that is tried again: what a retry may mend is raised."""

    @functools.wraps(run)
    def telling(*args: P.args, **kwargs: P.kwargs) -> R:
        hide_keys()
        try:
            return run(*args, **kwargs)
        except UserError as error:
            if is_of_input_or_output(error):
                raise
            return cast(R, _failed(error))

    return telling


def hide_keys() -> None:
    """Takes keys out of all that this process logs from now on, at a terminal and at Prefect's server."""
    known = logging.root.manager.loggerDict.values()
    for logger in (logging.root, *(each for each in known if isinstance(each, logging.Logger))):
        for handler in logger.handlers:
            handler.addFilter(_HIDING)


def _failed(error: Exception) -> State:
    return Failed(message=redacted(str(error)), data=error)
