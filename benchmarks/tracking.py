"""What tracking costs a training: steps with it off, into SQLite, and to a server that never answers.

    python -m benchmarks.tracking --rounds 10 --steps 40

Each is a process of its own, which tells its journal four numbers after each step; what ships them is another process.
"""

import argparse
import socket
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.rounds import Worker, in_turn, ratio_of, speed_of
from benchmarks.tables import Cell, Report, show

OFF, SQLITE, HANGING = "off", "into mlflow.db", "to a server that hangs"


def measure(num_rounds: int, num_steps: int, num_threads: int) -> list[dict[str, Cell]]:
    """Returns a row for each of the three."""
    with ExitStack() as held:
        scratch = Path(held.enter_context(tempfile.TemporaryDirectory()))
        deaf = held.enter_context(socket.create_server(("127.0.0.1", 0)))  # connections wait in its queue for ever
        settings = {
            OFF: ["MINIMAGEN_TRACKING=off"],
            SQLITE: ["MINIMAGEN_TRACKING=on"],
            HANGING: ["MINIMAGEN_TRACKING=on", f"MLFLOW_TRACKING_URI=http://127.0.0.1:{deaf.getsockname()[1]}"],
        }
        workers = {
            name: held.enter_context(_worker(scratch / str(number), setting, num_threads))
            for number, (name, setting) in enumerate(settings.items())
        }
        in_turn(workers, num_rounds=1, num_steps=num_steps)  # untimed: MLflow is imported, its database made
        timings = in_turn(workers, num_rounds=num_rounds, num_steps=num_steps)
    return [
        {
            "tracking": name,
            "steps/s": str(speed_of(timings[name], num_steps)),
            "steps/cpu-s": str(speed_of(timings[name], num_steps, of_cpu=True)),
            "times as fast as off": str(ratio_of(timings[name], timings[OFF])),
            "by cpu-s": str(ratio_of(timings[name], timings[OFF], of_cpu=True)),
        }
        for name in settings
    ]


def _worker(folder: Path, setting: list[str], num_threads: int) -> Worker:
    folder.mkdir()
    command = ["env", *setting, sys.executable, "-m", "benchmarks.track_ours", str(folder), str(num_threads)]
    return Worker(command, num_threads=num_threads, errors=folder / "said")


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = measure(options.rounds, options.steps, options.threads)
    show(Report(f"A training step and its tracking, {options.threads} thread(s)", rows), options.json)


if __name__ == "__main__":
    main()
