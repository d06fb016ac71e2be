"""Trainings that were stopped, and states changed by hand: what a run is compared with that met some trouble."""

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from minimagen.config import Params
from minimagen.sealed import write_sealed
from minimagen.stages.train import run_train
from minimagen.stages.training_session import Session
from minimagen.training.checkpoint import FORMAT_VERSION, state_path


def stop_after(root: Path, at_step: int, params: Params, unet: str = "base") -> None:
    """Trains up to a step, whose state is saved as SIGTERM saves it."""
    with told_to_stop_in("_do_what_is_due", lambda session: session.course.state.step == at_step):
        run_train(params, unet, root)


@contextmanager
def told_to_stop_in(method: str, when: Callable[[Session], bool] = lambda session: True) -> Iterator[None]:
    """A training within the block gets SIGTERM at the end of a method of its session, and has to end by that."""
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    real = getattr(Session, method)

    def be_told(session: Session, *arguments: object) -> None:
        real(session, *arguments)
        if when(session):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit, match="143"):
        patch.setattr(Session, method, be_told)
        yield
    for each, handler in before.items():
        signal.signal(each, handler)


def edit_saved_state(run_folder: Path, *, step: int, left_out: Sequence[str]) -> None:
    """Makes the newest state that of ``step``, with samples left out from there on."""
    newest = max((run_folder / "states").iterdir())
    files = {path.name: path.read_bytes() for path in newest.iterdir() if path.name != "MANIFEST.json"}
    record = json.loads(files["state.json"]) | {"step": step, "quarantined": sorted(left_out)}
    files["state.json"] = json.dumps(record).encode()
    write_sealed(state_path(run_folder / "states", step), files.items(), {"format_version": FORMAT_VERSION})
