"""Trainings that were stopped, and states changed by hand: what a run is compared with that met some trouble."""

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from minimagen.config import Params
from minimagen.sealed import write_sealed
from minimagen.stages.train import run_train
from minimagen.stages.training_session import Session
from minimagen.training.checkpoint import FORMAT_VERSION, state_path


def stop_after(root: Path, at_step: int, params: Params, unet: str = "base") -> None:
    """Trains up to a step, whose state is saved as SIGTERM saves it."""
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    real = Session._do_what_is_due

    def be_told(session: Session, step: int) -> None:
        real(session, step)
        if step == at_step:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit, match="143"):
        patch.setattr(Session, "_do_what_is_due", be_told)
        run_train(params, unet, root)
    for each, handler in before.items():
        signal.signal(each, handler)


def edit_saved_state(run_folder: Path, *, step: int, left_out: Sequence[str]) -> None:
    """Makes the newest state that of ``step``, with samples left out from there on."""
    newest = max((run_folder / "states").iterdir())
    files = {path.name: path.read_bytes() for path in newest.iterdir() if path.name != "MANIFEST.json"}
    record = json.loads(files["state.json"]) | {"step": step, "quarantined": sorted(left_out)}
    files["state.json"] = json.dumps(record).encode()
    write_sealed(state_path(run_folder / "states", step), files.items(), {"format_version": FORMAT_VERSION})
