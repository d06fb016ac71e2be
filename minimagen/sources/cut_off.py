"""A deadline that no slow server outlasts, for connections of ``requests``.

A read timeout starts anew with each byte, so a server that sends one now and then is never cut off by it. Here a
thread beside the one that reads shuts its connections down once the time is over, whatever they wait for. Names are
resolved and TLS is agreed on within limits of their own.
"""

import contextlib
import socket
import threading
import time
import weakref
from types import TracebackType
from typing import Self

from urllib3.connection import HTTPConnection


class _Connections:
    """The connections of one thread, which makes one request at a time; another thread looks through them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: weakref.WeakSet[HTTPConnection] = weakref.WeakSet()

    def add(self, connection: HTTPConnection) -> None:
        with self._lock:
            self._all.add(connection)

    def shut_down(self) -> None:
        with self._lock:
            connections = list(self._all)
        for connection in connections:
            opened = connection.sock
            with contextlib.suppress(OSError):  # one that is closed, or about to be
                if opened is not None:
                    socket.socket.shutdown(opened, socket.SHUT_RDWR)


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.connections = _Connections()


_of_thread = _OfThread()


def watch(connection: HTTPConnection) -> None:
    """Has a connection that this thread opens shut down if the thread's time is over."""
    _of_thread.connections.add(connection)


class CutOff:
    """Shuts the connections of this thread down ``wait_s`` from now, unless the block ends or extends it before."""

    def __init__(self, wait_s: float) -> None:
        self._at = time.monotonic() + wait_s
        self._connections = _of_thread.connections
        self._is_done = threading.Event()
        self._thread = threading.Thread(target=self._wait, daemon=True)
        self.is_over = False
        """What failed since failed for this reason."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_done.set()
        self._thread.join()

    def extend(self, wait_s: float) -> None:
        """Moves the end to ``wait_s`` from now."""
        self._at = time.monotonic() + wait_s

    def _wait(self) -> None:
        while not self._is_done.wait(max(0.0, self._at - time.monotonic())):
            if time.monotonic() >= self._at:
                break
        while not self._is_done.is_set():  # again and again: a connection may be about to be opened
            self.is_over = True
            self._connections.shut_down()
            self._is_done.wait(0.05)
