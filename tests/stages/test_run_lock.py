"""One holder at a time, named to the others, and none once it is dead."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from minimagen.stages.run_lock import AlreadyRunningError, lock_early, run_lock, stage_lock

HOLDER = """
import signal, sys
from pathlib import Path
from minimagen.stages.run_lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    signal.pause()
"""
EARLY = """
import sys
from pathlib import Path
from minimagen.stages.run_lock import lock_early
lock_early(Path(sys.argv[1]))
"""


def test_a_second_holder_is_refused_with_the_first_ones_number(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "train.lock"

    with run_lock(path), pytest.raises(AlreadyRunningError, match=f"held by process {os.getpid()}"), run_lock(path):
        pass

    with run_lock(path):
        pass


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "train.lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(AlreadyRunningError, match=str(holder.pid)), run_lock(path):
            pass

        holder.send_signal(signal.SIGKILL)
        holder.wait()

    with run_lock(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_lock_taken_early_is_for_the_next_block_alone(tmp_path: Path) -> None:
    path = stage_lock(tmp_path, "train", "base")
    assert path == tmp_path / "runs/train/base.lock"
    lock_early(path)
    with pytest.raises(AlreadyRunningError, match=f"held by process {os.getpid()}"):
        lock_early(path)

    with run_lock(path), pytest.raises(AlreadyRunningError), run_lock(path):
        pass

    with run_lock(path):
        pass


def test_a_lock_taken_early_goes_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "embed.lock"

    subprocess.run([sys.executable, "-c", EARLY, str(path)], check=True)

    with run_lock(path):
        pass
