"""Work in threads that can be told to stop: an exception is raised in them, as Ctrl-C raises one in the main thread.

Arrives between two steps of Python, so a request or a sum that is under way ends first. Knows no work.
"""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_at_work: set[int] = set()


class Stopped(BaseException):
    """The process was told to stop; what is done stays done."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Lets ``stop_threads`` end the block, if it runs in another thread than the main one."""
    thread = threading.get_ident()
    if threading.current_thread() is threading.main_thread():
        yield
        return
    _at_work.add(thread)
    try:
        yield
    finally:
        _at_work.discard(thread)


def stop_threads() -> None:
    """Raises Stopped in every thread that is in such a block."""
    for thread in list(_at_work):
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(Stopped))
