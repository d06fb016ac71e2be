"""Purges in processes that kill themselves: `python -m tests.stages.killable_purge`, "FOLDER STATE NUMBER" per line.

All is imported once; each purge is a fork. The purge that is told a number is killed at its change of the disk of that
number, before the change. Tells "ended STATUS" after each.
"""

import os
import signal
import sys
from datetime import date
from pathlib import Path

import pandas  # noqa: F401  pyarrow imports it at its first use: once for all children

from minimagen.stages.purge import purge

BEFORE = date(2026, 10, 15)
_CHANGES = ("os.rename", "os.remove", "os.rmdir")


def run(folder: Path, state: Path, kill_at: int) -> None:
    """Purges, and dies at the change of that number, if there are so many."""
    num_changes = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal num_changes
        is_write = event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & os.O_WRONLY)
        if is_write or event in _CHANGES:
            num_changes += 1
            if num_changes == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    os.fsync = _skip
    sys.addaudithook(watch)
    purge(folder, BEFORE, state=state)


def _skip(descriptor: int, /) -> None:
    """Takes no time: a kill, unlike a power cut, leaves what was written."""


def main() -> None:
    """Serves purges until the input ends."""
    for line in sys.stdin:
        folder, state, kill_at = line.split()
        child = os.fork()
        if child == 0:
            run(Path(folder), Path(state), int(kill_at))
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.write(1, f"ended {status}\n".encode())


if __name__ == "__main__":
    main()
