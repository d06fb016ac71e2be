"""Small trainings in processes that a test may kill: `python -m tests.training.killable`, one folder per input line.

torch is imported once; each training is a fork. Tells "pid N", "step N" after each step, and "ended STATUS".
"""

import os
import sys
from pathlib import Path

import torch

from minimagen.training.checkpoint import Beside, load_newest, save_state
from minimagen.training.loop import train
from tests.training.small import CPU, cpu_accelerator, small_config, small_network, small_state, small_task

NUM_STEPS = 40


def tell(text: str) -> None:
    """Writes one line at once."""
    os.write(1, f"{text}\n".encode())


def run(folder: Path) -> None:
    """Goes on from the newest state to the last step and saves every fourth."""
    config = small_config(num_steps=NUM_STEPS)
    state = small_state(config, small_network(dropout=0.1))
    load_newest(folder, state, scaler=None, device=CPU)
    steps = train(state, small_task(config), config=config, num_steps=NUM_STEPS, accelerator=cpu_accelerator())
    for report in steps:
        tell(f"step {report.step}")
        if report.step % config.save_every == 0:
            save_state(folder, state, scaler=None, beside=Beside(), device=CPU)


def main() -> None:
    """Serves trainings until the input ends."""
    torch.set_num_threads(1)
    small_state(small_config())  # imports what torch leaves to its first optimiser, once for all children
    tell("ready")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run(Path(line.strip()))
            os._exit(0)
        tell(f"pid {child}")
        tell(f"ended {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")


if __name__ == "__main__":
    main()
