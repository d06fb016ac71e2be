"""A lock has one holder, and none after its death."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from minimagen.tracking.lock import LockedError, exclusive, is_locked

HOLDER = (
    "import sys, time; from pathlib import Path; from minimagen.tracking.lock import exclusive\n"
    "with exclusive(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()\n"
)


def test_a_second_holder_is_refused_and_told_the_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.lock"

    with exclusive(path), pytest.raises(LockedError, match=r"a\.lock: held by another process"), exclusive(path):
        pass

    assert not is_locked(path)


def test_asking_whether_it_is_locked_creates_nothing(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "a.lock")
    assert list(tmp_path.iterdir()) == []


def test_a_killed_holder_frees_it(tmp_path: Path, checkout: Path) -> None:
    path = tmp_path / "a.lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=checkout) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        was_locked = is_locked(path)
        holder.send_signal(signal.SIGKILL)
        holder.wait()

    assert was_locked
    assert not is_locked(path)
