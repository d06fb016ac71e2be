"""A deadline that no slow server outlasts."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from urllib3.connection import HTTPConnection

from minimagen.sources.cut_off import CutOff, watch


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=10)) as listener:
        yield listener.getsockname()[1]


def _connect(port: int) -> HTTPConnection:
    connection = HTTPConnection("127.0.0.1", port, timeout=20.0)
    connection.connect()
    watch(connection)
    return connection


def test_a_read_ends_with_the_time(silent: int) -> None:
    connection, started = _connect(silent), time.monotonic()
    with closing(connection), CutOff(0.2) as cut_off:
        assert connection.sock is not None
        assert connection.sock.recv(1) == b""
    assert cut_off.is_over
    assert time.monotonic() - started < 10.0


def test_a_connection_that_is_closed_keeps_no_other_from_being_cut_off(silent: int) -> None:
    many = [HTTPConnection("127.0.0.1", silent) for _ in range(50)]
    for one in many:
        watch(one)  # never opened: it has no socket
    with closing(_connect(silent)) as connection, CutOff(0.1) as cut_off:
        assert connection.sock is not None
        assert connection.sock.recv(1) == b""
    assert cut_off.is_over
    assert all(one.sock is None for one in many)


def test_what_is_extended_or_done_in_time_is_not_cut_off(silent: int) -> None:
    with closing(_connect(silent)) as connection:
        with CutOff(0.2) as cut_off:
            cut_off.extend(60.0)
            connection.sock.settimeout(0.5)  # pyright: ignore[reportOptionalMemberAccess]
            with pytest.raises(TimeoutError):
                connection.sock.recv(1)  # pyright: ignore[reportOptionalMemberAccess]
        assert not cut_off.is_over


def test_threads_cut_off_their_own_connections_only(silent: int) -> None:
    with closing(_connect(silent)) as mine:
        other = threading.Thread(target=_run_out, args=(silent,))
        other.start()
        other.join()
        mine.sock.settimeout(0.3)  # pyright: ignore[reportOptionalMemberAccess]
        with pytest.raises(TimeoutError):
            mine.sock.recv(1)  # pyright: ignore[reportOptionalMemberAccess]


def _run_out(port: int) -> None:
    with closing(_connect(port)) as connection, CutOff(0.1):
        connection.sock.recv(1)  # pyright: ignore[reportOptionalMemberAccess]
