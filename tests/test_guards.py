import os
import socket
from pathlib import Path

import pytest

from tests.guards import ForbiddenError, Guard


def test_guard_in_force_refuses_a_connection_beyond_loopback(guard: Guard) -> None:
    with socket.socket() as stream, pytest.raises(ForbiddenError, match=r"192\.0\.2\.1 is not loopback"):
        stream.connect(("192.0.2.1", 80))
    guard.refused.clear()


def test_guard_in_force_refuses_a_name_lookup(guard: Guard) -> None:
    with pytest.raises(ForbiddenError, match=r"example\.org is not loopback"):
        socket.getaddrinfo("example.org", 80)
    guard.refused.clear()


def test_guard_in_force_refuses_a_file_in_the_checkout(guard: Guard, checkout: Path) -> None:
    with pytest.raises(ForbiddenError, match="is in the checkout"):
        (checkout / "litter.txt").write_text("")
    with pytest.raises(ForbiddenError, match="is in the checkout"):
        (checkout / "litter").mkdir()
    assert not (checkout / "litter.txt").exists()
    guard.refused.clear()


def test_guard_lets_loopback_through(tmp_path: Path) -> None:
    guard = Guard(tmp_path)
    for address in (("127.0.0.1", 80), ("::1", 80, 0, 0), ("localhost", 80), str(tmp_path / "unix.sock")):
        guard("socket.connect", (None, address))
    assert guard.refused == []


def test_guard_lets_reads_caches_and_other_folders_through(tmp_path: Path) -> None:
    guard = Guard(tmp_path / "checkout")
    guard("open", (str(tmp_path / "checkout" / "a.py"), "r", os.O_RDONLY))
    guard("open", (str(tmp_path / "checkout" / "__pycache__" / "a.pyc"), "w", os.O_WRONLY | os.O_CREAT))
    guard("os.rename", (str(tmp_path / "a"), str(tmp_path / "b"), -1, -1))
    assert guard.refused == []


def test_guard_remembers_what_it_refused(tmp_path: Path) -> None:
    guard = Guard(tmp_path)
    with pytest.raises(ForbiddenError):
        guard("os.rename", (str(tmp_path.parent / "a"), str(tmp_path / "b"), -1, -1))
    assert guard.refused == [f"os.rename: {tmp_path / 'b'} is in the checkout; tests write into tmp_path"]
