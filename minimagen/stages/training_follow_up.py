"""What follows an optimiser step now and then: validation, pictures, the averages of chosen epochs.

All of it can be made up for after a stop, since it changes no weight. Does not know how steps are done or saved.
"""

import io
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from minimagen.contact_sheet import contact_sheet
from minimagen.datasets.captioned import CaptionedImages
from minimagen.errors import is_of_disk
from minimagen.files import write_atomic, write_json
from minimagen.saved_model import write_model
from minimagen.stages.copying_guard import CopyingGuard
from minimagen.stages.training_course import Course
from minimagen.stages.training_watch import Watch
from minimagen.tracking.stage import TrackedStage
from minimagen.training.grid import draw_grid
from minimagen.training.interrupt import Interrupt, Stopped
from minimagen.training.loop import spoilt_parts_of
from minimagen.training.optimizer import step_of_epoch
from minimagen.training.validation import spread_indices

logger = logging.getLogger(__name__)

NUM_GRID_COLUMNS = 4
GRIDS, SNAPSHOTS = "grids", "snapshots"
"""Where pictures drawn and averages of chosen epochs lie in a run folder."""
UNDONE_FILE = "undone.json"
"""In a run folder: what a signal left undone after the last saved step."""


@dataclass(frozen=True, slots=True)
class FollowUp:
    """What one training does besides its steps."""

    course: Course
    held_out: CaptionedImages
    tracked: TrackedStage
    interrupt: Interrupt
    guard: CopyingGuard
    spending: Callable[[str], AbstractContextManager[float]]
    """Counts the time of a block under a name."""

    def do(self, step: int) -> None:
        """Does what is due after a step; what a signal leaves undone is remembered for the next process.

        Nothing is done with a state that is not sound: the next step meets it and goes back.
        """
        due = self._due(step)
        if due and (spoilt := spoilt_parts_of(self.course.state)):
            logger.warning("the %s after step %d are not finite, so nothing is done with them", spoilt[0], step)
        else:
            self._do(due, step)

    def do_what_was_left(self) -> None:
        """Does what the process before this one left undone after the step that it saved."""
        step, path = self.course.state.step, self._undone_path
        try:
            record = json.loads(path.read_bytes())
        except FileNotFoundError:
            return
        if record["step"] == step and not self._do(self._due(step)[-record["num_left"] :], step):
            return
        path.unlink()

    def snapshot_paths(self) -> list[Path]:
        """Returns where the averages lie, as model folders, of the chosen epochs that the training has come to."""
        chosen, step = self.course.config.snapshot_epochs, self.course.state.step
        return [self._snapshot_path(epoch) for epoch in chosen if self._last_step_of(epoch) <= step]

    def _snapshot_path(self, epoch: int) -> Path:
        return self.tracked.run_folder / SNAPSHOTS / f"epoch-{epoch:05d}"

    def _last_step_of(self, epoch: int) -> int:
        return step_of_epoch(epoch, self.course.config.batch_size, len(self.course.training))

    @property
    def _undone_path(self) -> Path:
        return self.tracked.run_folder / UNDONE_FILE

    def _due(self, step: int) -> list[Callable[[int], None]]:
        """Returns what is to be done after a step, in order."""
        config = self.course.config
        due: list[Callable[[int], None]] = []
        is_last = step == self.course.record.num_steps
        if step % config.validate_every == 0 or is_last:
            due.append(self._validate)
        if config.grid.every and (step % config.grid.every == 0 or is_last):
            due.append(self._draw)
        if self._epochs_ending(step):
            due.append(self._keep_snapshots)
        return due

    def _do(self, due: Sequence[Callable[[int], None]], step: int) -> bool:
        """Returns whether all of it was done."""
        for number, action in enumerate(due):
            try:
                action(step)
            except Stopped:
                write_json(self._undone_path, {"step": step, "num_left": len(due) - number})
                return False
        return True

    def _epochs_ending(self, step: int) -> list[int]:
        """Returns the chosen epochs that end with a step."""
        return [epoch for epoch in self.course.config.snapshot_epochs if self._last_step_of(epoch) == step]

    def _keep_snapshots(self, step: int) -> None:
        for epoch in self._epochs_ending(step):
            record = self.course.record.model_copy(update={"num_steps": step})
            write_model(self._snapshot_path(epoch), record, self.course.state.ema.tensors)

    @property
    def _watch(self) -> Watch:
        return Watch(self.course, self.held_out)

    def _validate(self, step: int) -> None:
        with self.spending("validate"), self.interrupt.at_once(), self._averaged() as network:
            losses = self._watch.losses(lambda batch, draws: self.course.objective.loss_under(network, batch, draws))
        self.tracked.metrics(step, losses)

    def _draw(self, step: int) -> None:
        config = self.course.config
        # Several pictures may share a caption: of each caption the last one is shown.
        distinct = list({caption: position for position, caption in enumerate(self.held_out.captions)}.items())
        chosen = [
            distinct[index] for index in spread_indices(min(config.grid.num_captions, len(distinct)), len(distinct))
        ]
        captions, positions = [caption for caption, _ in chosen], [position for _, position in chosen]
        with self.spending("draw"), self.interrupt.at_once(), self._averaged() as network:
            pictures = draw_grid(self.course.objective, network, self.held_out.batch(positions, seed=config.seed))
            look = self._watch.look(pictures)
        png = io.BytesIO()
        contact_sheet(pictures, captions, num_columns=NUM_GRID_COLUMNS).save(png, "PNG")
        path = self.tracked.run_folder / GRIDS / f"step-{step:08d}.png"
        try:
            write_atomic(path, png.getvalue())
        except OSError as error:
            tell_refusal(f"the pictures after step {step}", error)
        else:
            self.tracked.image(step, "grid", path, "\n".join(captions))
        self.tracked.metrics(step, look.metrics)
        self.tracked.verdict(step, f"step {step}: {look.text}")
        print(f"train {self.course.record.name}: step {step}: {look.text}", flush=True)
        self.guard.tell(step, is_copying=look.is_copying)

    @contextmanager
    def _averaged(self) -> Iterator[nn.Module]:
        """The network with the averages, in the precision of training; the trained one is not touched."""
        with self.course.accelerator.autocast(), torch.inference_mode():
            yield self.course.state.ema.network


def tell_refusal(what: str, error: OSError) -> None:
    """Tells that the disk refused something that a training can do without; any other error goes on."""
    if not is_of_disk(error):
        raise error
    logger.warning("%s: not saved, training goes on: %s", what, error)
