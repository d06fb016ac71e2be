"""Work in threads that can be told to stop: an exception is raised in them, as Ctrl-C raises one in the main thread.

Arrives between two steps of Python, so an answer that is waited for, or a sum that is under way, comes first. Knows no
work.
"""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_at_work: set[int] = set()
_is_stopping = threading.Event()


class Stopped(KeyboardInterrupt):
    """The process was told to stop; what is done stays done. A loop of asyncio lets this one through."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Lets ``stop_threads`` end the block, if it runs in another thread than the main one.

    Raises:
        Stopped: at once, if that was said already.
    """
    if threading.current_thread() is threading.main_thread():
        yield
        return
    if _is_stopping.is_set():
        raise Stopped
    thread = threading.get_ident()
    _at_work.add(thread)
    try:
        yield
    finally:
        _at_work.discard(thread)


def stop_threads() -> None:
    """Raises Stopped in every thread that is in such a block, and in those that come to one."""
    _is_stopping.set()
    for thread in list(_at_work):
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(Stopped))


def let_threads_work() -> None:
    """Takes back that threads are to stop."""
    _is_stopping.clear()
