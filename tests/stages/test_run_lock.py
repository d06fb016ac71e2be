"""One holder at a time, named to the others, and none once it is dead."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from minimagen.stages.run_lock import AlreadyRunningError, run_lock

HOLDER = """
import signal, sys
from pathlib import Path
from minimagen.stages.run_lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    signal.pause()
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
