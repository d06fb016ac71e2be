"""Trainings of the tiny project that a test may kill: `python -m tests.stages.killable_training`, one a line of input.

A line is JSON: root, unet, and the fields of training that differ. torch is imported once; each training is a fork, the
whole stage, saves and all. Tells "pid N", "step N" after each step, and "ended STATUS". What takes long and changes
nothing on the disk is done once for all: late imports, the hash of the sources, the advice at the start.
"""

import functools
import importlib
import json
import os
import sys
from pathlib import Path

import torch

from minimagen.exit_codes import tell_errors
from minimagen.stages import train
from minimagen.stages.train import run_train
from minimagen.stages.training_session import Session
from minimagen.training import run_identity
from tests.stages.tiny_project import tiny_params

HOOK = "_do_what_is_due"
_LATE = ("pandas", "pyarrow.compute", "torch._dynamo", "torch.optim", "einops._torch_specific", "PIL.JpegImagePlugin")
"""What a training imports when it needs it."""


def tell(text: str) -> None:
    """Writes one line at once."""
    os.write(1, f"{text}\n".encode())


def tell_steps() -> None:
    """Makes every session tell each step before anything is done after it."""
    real = getattr(Session, HOOK)

    def told(session: Session, step: int) -> None:
        tell(f"step {step}")
        real(session, step)

    setattr(Session, HOOK, told)


def do_in_advance() -> None:
    """Does what every fork would do again."""
    for name in _LATE:
        importlib.import_module(name)
    run_identity.source_sha256 = functools.cache(run_identity.source_sha256)
    run_identity.source_sha256(Path(train.__file__))
    train._advise = lambda inputs, share_left: None


def run(root: Path, unet: str, settings: dict[str, object]) -> int:
    """Runs one training and returns its exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sys.stdout = sys.stderr
    try:
        tell_errors(lambda: run_train(tiny_params(**settings), unet, root))  # pyright: ignore[reportArgumentType]
    except SystemExit as ended:
        return int(ended.code or 0)
    except KeyboardInterrupt:
        return 130
    return 0


def main() -> None:
    """Serves trainings until the input ends."""
    torch.set_num_threads(1)
    tell_steps()
    do_in_advance()
    tell("ready")
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(run(Path(job["root"]), job["unet"], job["settings"]))
        tell(f"pid {child}")
        tell(f"ended {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")


if __name__ == "__main__":
    main()
