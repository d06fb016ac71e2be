import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guards import ForbiddenError, Guard


def test_guard_in_force_refuses_a_connection_beyond_loopback(guard: Guard) -> None:
    with socket.socket() as stream, pytest.raises(RuntimeError, match=r"192\.0\.2\.1 is not loopback"):
        stream.connect(("192.0.2.1", 80))
    guard.refused.clear()


def test_guard_in_force_refuses_a_name_lookup(guard: Guard) -> None:
    with pytest.raises(RuntimeError, match=r"example\.org is not loopback"):
        socket.getaddrinfo("example.org", 80)
    guard.refused.clear()


def test_guard_in_force_refuses_a_file_in_the_checkout(guard: Guard, checkout: Path) -> None:
    with pytest.raises(ForbiddenError, match="is in the checkout"):
        (checkout / "litter.txt").write_text("")
    with pytest.raises(ForbiddenError, match="is in the checkout"):
        (checkout / "litter").mkdir()
    assert not (checkout / "litter.txt").exists()
    guard.refused.clear()


CONNECTING = """
import socket
try:
    socket.socket().connect(("192.0.2.1", 80))
except RuntimeError as error:
    print(error)
"""


@pytest.mark.parametrize("environment", [None, {}, {"PYTHONPATH": "/elsewhere"}], ids=["inherited", "empty", "own"])
def test_a_process_that_a_test_starts_is_refused_too_and_told_of(environment: dict[str, str] | None) -> None:
    around = None if environment is None else {"OFFLINE_LOG": os.environ["OFFLINE_LOG"], **environment}
    command = [sys.executable, "-c", CONNECTING]
    said = subprocess.run(command, env=around, capture_output=True, text=True, check=True).stdout
    assert said == "socket.connect: 192.0.2.1 is not loopback; tests are offline\n"
    log = Path(os.environ["OFFLINE_LOG"])
    assert log.read_text().endswith("socket.connect: 192.0.2.1 is not loopback; tests are offline\n")
    log.unlink()


def test_a_process_of_a_process_is_refused_too(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(CONNECTING)
    subprocess.run(["sh", "-c", f"{sys.executable} {program}"], check=True)
    log = Path(os.environ["OFFLINE_LOG"])
    assert str(program) in log.read_text()
    log.unlink()


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
