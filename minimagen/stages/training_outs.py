"""The outs of stage train, written once, from a session that is at its end: each folder is whole or absent.

    data/models/<unet>/          averaged weights, what sampling loads
    data/checkpoints/<unet>/     final/        the last run state, in full
                                 epoch-00010/  averaged weights after each of snapshot_epochs up to the last step
                                 curves.csv    losses by step, without times

Trains nothing.
"""

import os
import shutil
from pathlib import Path

from minimagen.files import copy_durable, make_folder, sync_folder, write_durable
from minimagen.saved_model import write_model
from minimagen.sealed import remove_leftovers, replace_folder
from minimagen.stages.training_session import Session
from minimagen.training.checkpoint import state_path
from minimagen.training.curves import curves_csv, read_curves

MODELS, CHECKPOINTS = Path("data/models"), Path("data/checkpoints")
CURVES_FILE, FINAL_FOLDER = "curves.csv", "final"


def publish(session: Session, root: Path) -> None:
    """Writes both outs below ``root``, replacing older ones; the caller is the only writer of this U-Net.

    Raises:
        OSError: the disk refused; an out is then the old one or absent.
    """
    name = session.course.record.name
    for parent in (root / MODELS, root / CHECKPOINTS):
        make_folder(parent)
        remove_leftovers(parent, name)
    temporary = root / CHECKPOINTS / f"{name}.tmp-{os.getpid()}"
    try:
        temporary.mkdir()
        _copy_durably(state_path(session.states_folder, session.course.state.step), temporary / FINAL_FOLDER)
        for path in session.follow_up.snapshot_paths():
            _copy_durably(path, temporary / path.name)
        curves = curves_csv(read_curves(session.tracked.journal.path))
        write_durable(temporary / CURVES_FILE, curves.encode())
        sync_folder(temporary)
        replace_folder(temporary, root / CHECKPOINTS / name)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    model = session.guard.model()
    write_model(root / MODELS / name, model.record, model.tensors)


def _copy_durably(source: Path, target: Path) -> None:
    target.mkdir()
    for path in source.iterdir():
        copy_durable(path, target / path.name)
    sync_folder(target)
