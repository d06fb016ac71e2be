"""What follows where a training turns out to copy: nothing, a warning, or its end with the weights from before.

Told of each grid in turn. Does not know how copies are found.
"""

import logging
import os
import shutil

from minimagen.journal import read_journal
from minimagen.saved_model import SavedModel, read_model, write_model
from minimagen.stages.training_course import Course
from minimagen.tracking.stage import TrackedStage

logger = logging.getLogger(__name__)

BEFORE_COPYING = "before-copying"
"""Where a run folder keeps the averages of the last grid without copies, as a model folder."""
STOPPED = "stopped_before_copying"
"""The journal's event of a training that ends early."""


class CopyingGuard:
    """Carries out ``training.grid.on_copying`` for one training."""

    def __init__(self, course: Course, tracked: TrackedStage) -> None:
        self.is_stopped = False
        """Whether the training is at its end, before its last step."""
        self._course, self._tracked, self._has_warned = course, tracked, False
        self._folder = tracked.run_folder / BEFORE_COPYING

    def resume(self) -> None:
        """Finds out from the journal whether an earlier process ended the training, and drops what is ahead of it."""
        entries = read_journal(self._tracked.journal.path)
        self.is_stopped = any(entry.values.get("event") == STOPPED for entry in entries)
        self.go_back()

    def go_back(self) -> None:
        """Drops averages of a later step than the present one: what led there is left, and may come out otherwise.

        Raises:
            SealError: they are damaged.
        """
        if self._folder.is_dir() and read_model(self._folder).record.num_steps > self._course.state.step:
            # Renamed first, so that a kill leaves no half of a folder.
            shutil.rmtree(self._folder.rename(self._folder.with_name(f"{BEFORE_COPYING}.tmp-{os.getpid()}")))

    def tell(self, step: int, *, is_copying: bool) -> None:
        """Hears of a grid, drawn with the averages as they are now."""
        on_copying, name = self._course.config.grid.on_copying, self._course.record.name
        if on_copying == "stop" and not is_copying:
            record = self._course.record.model_copy(update={"num_steps": step})
            write_model(self._folder, record, self._course.state.ema.tensors)
        elif on_copying == "stop":
            self.is_stopped = True
            self._tracked.event(step, {"event": STOPPED})
            print(f"train {name}: stopped at step {step}, since drawn pictures are copies", flush=True)
        elif on_copying == "warn" and is_copying and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "unets.%s: step %d: drawn pictures are copies of training pictures: more pictures, unet.dropout or "
                "fewer steps help; training.grid.on_copying: stop keeps the weights from before",
                name,
                step,
            )

    def model(self) -> SavedModel:
        """Returns what sampling loads: the averages as they are, or those of the last grid without copies.

        Where the first grid already had copies, or the first since a return, there are none but the present ones.
        """
        if self.is_stopped and self._folder.is_dir():
            return read_model(self._folder)
        record = self._course.record.model_copy(update={"num_steps": self._course.state.step})
        return SavedModel(record, self._course.state.ema.tensors)
