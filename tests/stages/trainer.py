"""Trains the tiny project's base U-Net: `python -m tests.stages.trainer FOLDER JSON`, the start of a real process.

The JSON says which fields of training differ; ``at_step`` and ``do`` let one process stumble there: "stop" sends itself
SIGTERM, "fail" raises an error, "nan" spoils a picture and "spoil", once, a weight, "wait" lists its modules in the
file ``waiting`` and stands still until it is told to stop or a file ``go`` is there. Which one is ``rank``. "tell"
tells every step on the way, "spoil at the end" spoils the averages by the update of a step, "stop reading" sends
SIGTERM to this process as it reads what it trains on.
"""

import json
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from minimagen.datasets.captioned import Batch
from minimagen.exit_codes import tell_errors
from minimagen.stages import train
from minimagen.stages.dvc_parent import end_with_dvc
from minimagen.stages.train import run_train
from minimagen.stages.training_course import Course
from minimagen.stages.training_inputs import TrainingInputs
from minimagen.training.ema import Ema
from tests.stages.killable_training import tell_steps
from tests.stages.spoilt_update import spoiling_update
from tests.stages.tiny_project import tiny_params


def stumble(do: str, at_step: int) -> None:
    """Makes this process stumble."""
    if do == "stop reading":
        train.read_inputs = stopping(train.read_inputs)
    elif do == "spoil at the end":
        Ema.update = spoiling_update(at_step, "average", math.nan)  # pyright: ignore[reportAttributeAccessIssue]
    else:
        stumble_in_step(do, at_step)


def stopping(real: Callable[..., TrainingInputs]) -> Callable[..., TrainingInputs]:
    """Returns what reads what is trained on, and sends SIGTERM on the way."""

    def read(*arguments: object, **keywords: object) -> TrainingInputs:
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments, **keywords)

    return read


def stumble_in_step(do: str, at_step: int) -> None:
    """Makes this process stumble as it asks for its part of the batch of a step (from 0)."""
    real, num_spoilt = Course._batch_of, 0

    def batch_of(course: Course, step: int, positions: slice) -> Batch:
        nonlocal num_spoilt
        batch = real(course, step, positions)
        if step == at_step:
            if do == "stop":
                os.kill(os.getpid(), signal.SIGTERM)
            elif do == "fail":
                raise MemoryError("this process has stumbled")
            elif do == "wait":
                Path("waiting").write_text("\n".join(sys.modules))
                while signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN and not Path("go").exists():
                    time.sleep(0.01)
            elif do == "nan":
                batch.images[0] = math.nan
            elif do == "spoil" and not num_spoilt:
                num_spoilt += 1
                with torch.no_grad():
                    next(course.state.network.parameters()).fill_(math.nan)
        return batch

    Course._batch_of = batch_of  # pyright: ignore[reportAttributeAccessIssue]


def main() -> None:
    """Runs the training that the arguments describe, and ends and tells errors as the command line does."""
    end_with_dvc()
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    logging.getLogger("minimagen").setLevel(logging.INFO)
    settings = json.loads(sys.argv[2])
    if "do" in settings:
        do, at_step, rank = (settings.pop(key) for key in ("do", "at_step", "rank"))
        if do == "tell":
            tell_steps()
        elif int(os.environ.get("RANK", "0")) == rank:
            stumble(do, at_step)
    tell_errors(lambda: run_train(tiny_params(**settings), "base", Path(sys.argv[1])))


if __name__ == "__main__":
    main()
