"""The process that ships a journal while its stage runs, so that no tracker can slow down, stop or crash a training.

Started with ``start_shipper``. It ends when its stage says so, or within seconds of its death, ignores the signals
meant for the stage, runs at low priority and holds none of the stage's pipes. What it cannot ship in time the next one
ships.
"""

import argparse
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import minimagen
from minimagen.tracking.record import SHIPPER_LOG
from minimagen.tracking.runs import Tracker
from minimagen.tracking.ship import has_unshipped, journal_folders, ship_folder

logger = logging.getLogger(__name__)

INTERVAL_S = 30.0
MAX_BACKOFF_S = 300.0
_WATCH_S = 1.0
_LAST_FLUSH_S = 45
_AFTER_DEATH_S = 3.5
"""How long it outlives a stage that was killed; five seconds after that nothing of a stage is to be left."""


class ShipperHandle:
    """A started shipper, in the hands of its stage."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        """Use ``start_shipper``."""
        self.process = process

    def finish(self, timeout_s: float) -> bool:
        """Asks for the last shipment and waits for it; a shipper that takes longer than ``timeout_s`` is killed.

        Returns:
            Whether everything was shipped; what was not stays in the journal.
        """
        try:
            self.process.communicate(b"finish", timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.returncode != 0:
            logger.warning("the tracker did not take everything; the rest is in the journal (`minimagen ship`)")
        return self.process.returncode == 0


def start_shipper(root: Path, run_folder: Path, *, interval_s: float = INTERVAL_S) -> ShipperHandle:
    """Starts shipping a run folder's journal, and what earlier stages left, in a process of its own."""
    package_parent = str(Path(minimagen.__file__).parents[1])
    search_path = os.pathsep.join(filter(None, [package_parent, os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", __name__, str(root.resolve()), str(run_folder.resolve())]
    with (run_folder / SHIPPER_LOG).open("ab") as log:
        process = subprocess.Popen(
            [*command, "--interval-s", str(interval_s), "--parent", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": search_path, "OMP_NUM_THREADS": "1"},
        )
    return ShipperHandle(process)


def follow(tracker: Tracker, run_folder: Path, *, interval_s: float, parent: int) -> bool:
    """Ships until the stage finishes or dies, then once more; returns whether everything was shipped."""
    _ship_leftovers(tracker, run_folder)
    wait_s = 0.0
    while not _stage_is_over(wait_s, parent):
        is_done = not has_unshipped(run_folder) or ship_folder(run_folder, tracker).problem is None
        wait_s = interval_s if is_done else min(max(wait_s, interval_s / 2) * 2, MAX_BACKOFF_S)
    signal.alarm(_LAST_FLUSH_S)
    return ship_folder(run_folder, tracker).problem is None


def _ship_leftovers(tracker: Tracker, run_folder: Path) -> None:
    for folder in journal_folders(tracker.root):
        if folder != run_folder and has_unshipped(folder) and ship_folder(folder, tracker).is_unreachable:
            return


def _stage_is_over(wait_s: float, parent: int) -> bool:
    """Waits; returns True early on a word from the stage, the end of its pipe, or a new parent process."""
    deadline = time.monotonic() + wait_s
    while (left_s := deadline - time.monotonic()) > 0:
        readable, _, _ = select.select([sys.stdin], [], [], min(left_s, _WATCH_S))
        # A forked data worker keeps the pipe open when the stage is killed, hence the second question.
        if readable or os.getppid() != parent:
            return True
    return False


def _end_after(parent: int) -> None:
    """Ends this process a little after its stage has died, whatever the tracker keeps it waiting for."""
    while os.getppid() == parent:
        time.sleep(_WATCH_S / 2)
    time.sleep(_AFTER_DEATH_S)
    os._exit(1)


def main() -> int:
    """Runs the shipper; returns 0 where everything was shipped."""
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)
    os.nice(10)
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("run_folder", type=Path)
    parser.add_argument("--interval-s", type=float, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    threading.Thread(target=_end_after, args=(arguments.parent,), daemon=True).start()
    tracker = Tracker(arguments.root)
    done = follow(tracker, arguments.run_folder, interval_s=arguments.interval_s, parent=arguments.parent)
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
