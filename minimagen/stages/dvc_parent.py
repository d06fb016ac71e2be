"""The end of a stage whose DVC is gone: a killed DVC leaves its command running, and the next one would start another.

Who DVC is stands in DVC's own record of who works on what: it may have a shell between itself and its command, and may
have died before the command could ask. Reads that record and imports no DVC. Linux only; elsewhere nothing happens.
"""

import json
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from minimagen.training.interrupt import die_with_parent

logger = logging.getLogger(__name__)

RWLOCK = Path(".dvc/tmp/rwlock")
"""DVC's record: which process reads or writes which path."""
_NO_PARENT = 0


def end_with_dvc(folder: Path = Path()) -> None:
    """Sends this process SIGTERM once the DVC that started it is gone, at once if it is already; else does nothing.

    Args:
        folder: in the project, where DVC started this process.
    """
    if "DVC_STAGE" not in os.environ or sys.platform != "linux":
        return
    die_with_parent()
    between = processes_up_to_dvc(folder)
    if between is None:
        logger.warning("the DVC that started this is gone: nothing is done")
        os.kill(os.getpid(), signal.SIGTERM)
    elif len(between) > 1:
        threading.Thread(target=_end_with, args=(between,), daemon=True).start()


def processes_up_to_dvc(folder: Path) -> list[int] | None:
    """Returns this process's parent, its parent, and so on up to DVC; None where none of them is one that DVC knows of.

    Where DVC's record is missing or torn the parent alone is returned.
    """
    above, at_work = _ancestors(), _at_work(folder)
    if at_work is None:
        return above[:1]
    return next((above[: number + 1] for number, pid in enumerate(above) if pid in at_work), None)


def _at_work(folder: Path) -> set[int] | None:
    """Returns the processes that DVC's record names, None if it cannot be read."""
    places = [folder.resolve(), *folder.resolve().parents]
    path = next((place / RWLOCK for place in places if (place / ".dvc").is_dir()), None)
    try:
        if path is None:
            return None
        record = json.loads(path.read_text())
        writers, readers = record["write"].values(), record["read"].values()
        return {info["pid"] for info in [*writers, *(info for infos in readers for info in infos)]}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _ancestors() -> list[int]:
    found: list[int] = []
    pid = os.getppid()
    while pid != _NO_PARENT:
        found.append(pid)
        try:
            # The name of a process, in brackets, may hold anything; its state and its parent follow.
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
    return found


def _end_with(pids: Sequence[int]) -> None:
    """Waits for the first of some ancestors to end; the kernel's own word reaches only children."""
    try:
        descriptors = [os.pidfd_open(pid) for pid in pids]
        if _ancestors()[: len(pids)] == list(pids):
            ends = select.poll()
            for descriptor in descriptors:
                ends.register(descriptor, select.POLLIN)
            ends.poll()
    except ProcessLookupError:
        pass
    os.kill(os.getpid(), signal.SIGTERM)
