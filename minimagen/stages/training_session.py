"""A running training as the main process sees it: what is told, measured, drawn and saved between optimiser steps.

Writes only below its run folder. Does not know where data come from nor where results go.
"""

import errno
import io
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from minimagen.contact_sheet import contact_sheet
from minimagen.datasets.captioned import CaptionedImages
from minimagen.files import write_atomic
from minimagen.progress import Progress
from minimagen.saved_model import write_model
from minimagen.stages.training_course import Course
from minimagen.tracking.stage import TrackedStage
from minimagen.training.checkpoint import save_state
from minimagen.training.curves import TRAIN_LOSS, VALIDATION_LOSS
from minimagen.training.grid import draw_grid
from minimagen.training.interrupt import Interrupt
from minimagen.training.loop import StepReport
from minimagen.training.optimizer import step_of_epoch
from minimagen.training.validation import spread_indices, validation_losses

logger = logging.getLogger(__name__)

REPORT_EVERY = 10
NUM_GRID_COLUMNS = 4
STATES = "states"
"""Where run states lie in a run folder."""
_DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(slots=True)
class Session:
    """A training with its surroundings; ``run`` takes it to its end."""

    course: Course
    held_out: CaptionedImages
    tracked: TrackedStage
    unreported_losses: list[float] = field(default_factory=list)
    """Losses since the last reported mean; part of a saved state, so that curves do not depend on interruptions."""
    unreported_s: float = 0.0
    spent_s: dict[str, float] = field(default_factory=dict)
    """Seconds of this process by what they went into."""
    num_steps_done: int = 0
    """Optimiser steps of this process."""

    @property
    def states_folder(self) -> Path:
        """Where run states lie."""
        return self.tracked.run_folder / STATES

    @property
    def snapshot_paths(self) -> list[Path]:
        """Where the averages of each chosen epoch lie, as model folders."""
        return [self._snapshot_path(epoch) for epoch in self.course.config.snapshot_epochs]

    def resume(self) -> None:
        """Takes up the newest saved state, if there is one, and drops what the journal says of later steps."""
        with self._spending("load"):
            resumed = self.course.resume(self.states_folder)
        if resumed is not None:
            self.unreported_losses = list(resumed.unreported_losses)
            logger.info("going on after step %d of %d", resumed.step, self.course.record.num_steps)
        self.tracked.journal.rewind(self.course.state.step)

    def run(self, interrupt: Interrupt) -> None:
        """Trains to the last step, or to the end of the step in which a signal comes; either way the state is saved.

        Raises:
            TrainingDiverged: a loss or gradient is not finite.
            OSError: the disk refused the last state; an earlier one that does not fit is only told in the log.
        """
        course, steps = self.course, self.course.steps()
        num_steps = course.record.num_steps
        with Progress(f"train {course.record.name}", num_steps, num_done=course.state.step) as progress:
            is_stopping = course.ranks.is_told_to_stop(interrupt)
            while not is_stopping:
                with self._spending("train") as started_s:
                    report = next(steps, None)
                if report is None:
                    return
                self._report(report, time.monotonic() - started_s)
                progress.advance(report.num_images, f"loss {report.loss:.4f}")
                self._do_what_is_due(report.step)
                # Read once: a signal that comes while saving ends the next step, whose state is then saved.
                is_stopping = course.ranks.is_told_to_stop(interrupt)
                is_last = is_stopping or report.step == num_steps
                if is_last or report.step % course.config.save_every == 0:
                    self._save(is_last=is_last)

    def timings(self) -> dict[str, float | int | str]:
        """Returns what this process alone spent, and its speed while training; no part of any out."""
        train_s = self.spent_s.get("train", 0.0)
        num_images = self.num_steps_done * self.course.config.batch_size
        return {
            **{f"{what}_s": round(seconds, 3) for what, seconds in self.spent_s.items()},
            "num_steps": self.num_steps_done,
            "images_per_s": round(num_images / train_s, 2) if train_s else 0.0,
            "num_threads": torch.get_num_threads(),
            "num_processes": self.course.ranks.num_processes,
            "device": self.course.objective.device.type,
        }

    def _report(self, report: StepReport, step_s: float) -> None:
        self.num_steps_done += 1
        self.unreported_losses.append(report.loss)
        self.unreported_s += step_s
        if report.step % REPORT_EVERY and report.step != self.course.record.num_steps:
            return
        mean = sum(self.unreported_losses) / len(self.unreported_losses)
        values = {TRAIN_LOSS: mean, "learning_rate": report.learning_rate}
        if not report.is_skipped:
            values["grad_norm"] = report.grad_norm
        num_timed = min(len(self.unreported_losses), self.num_steps_done)
        values["images_per_s"] = num_timed * report.num_images / self.unreported_s
        self.tracked.metrics(report.step, values)
        self.unreported_losses, self.unreported_s = [], 0.0

    def _do_what_is_due(self, step: int) -> None:
        config = self.course.config
        if step % config.validate_every == 0 or step == self.course.record.num_steps:
            with self._spending("validate"):
                self._validate(step)
        if config.grid.every and step % config.grid.every == 0:
            with self._spending("draw"):
                self._draw(step)
        for epoch in config.snapshot_epochs:
            if step_of_epoch(epoch, config.batch_size, len(self.course.training)) == step:
                record = self.course.record.model_copy(update={"num_steps": step})
                write_model(self._snapshot_path(epoch), record, self.course.state.ema.tensors)

    def _validate(self, step: int) -> None:
        config = self.course.config
        with self._averaged():
            found = validation_losses(
                lambda batch, draws: self.course.objective.loss_under(self._network, batch, draws),
                self.held_out,
                aug_level=self.course.objective.usual_aug_level,
                num_images=config.num_validation_images,
                batch_size=config.batch_size,
                seed=config.seed,
            )
        bins = {f"{VALIDATION_LOSS}/{item.start:.2f}-{item.end:.2f}": item.loss for item in found.bins}
        self.tracked.metrics(step, {VALIDATION_LOSS: found.loss, **bins})

    def _draw(self, step: int) -> None:
        config = self.course.config
        # Several pictures may share a caption: of each caption the last one is shown.
        distinct = list({caption: position for position, caption in enumerate(self.held_out.captions)}.items())
        chosen = [
            distinct[index] for index in spread_indices(min(config.grid.num_captions, len(distinct)), len(distinct))
        ]
        captions, positions = [caption for caption, _ in chosen], [position for _, position in chosen]
        with self._averaged():
            pictures = draw_grid(self.course.objective, self._network, self.held_out.batch(positions, seed=config.seed))
        png = io.BytesIO()
        contact_sheet(pictures, captions, num_columns=NUM_GRID_COLUMNS).save(png, "PNG")
        path = self.tracked.run_folder / "grids" / f"step-{step:08d}.png"
        write_atomic(path, png.getvalue())
        self.tracked.image(step, "grid", path, "\n".join(captions))

    def _save(self, *, is_last: bool) -> None:
        self.tracked.journal.sync()
        try:
            with self._spending("save"):
                save_state(
                    self.states_folder,
                    self.course.state,
                    scaler=self.course.accelerator.scaler,
                    unreported_losses=self.unreported_losses,
                    device=self.course.objective.device,
                )
        except OSError as error:
            if is_last or error.errno not in _DISK_IS_FULL:
                raise
            logger.warning("step %d is not saved, training goes on: %s", self.course.state.step, error)

    def _network(self, *args: object, **kwargs: object) -> Tensor:
        return self.course.state.ema.network(self.course.state.network)(*args, **kwargs)

    def _snapshot_path(self, epoch: int) -> Path:
        return self.tracked.run_folder / "snapshots" / f"epoch-{epoch:05d}"

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The network out of training mode and in the precision of training; the loop sets its mode back itself."""
        self.course.state.network.eval()
        with self.course.accelerator.autocast(), torch.inference_mode():
            yield

    @contextmanager
    def _spending(self, what: str) -> Iterator[float]:
        started_s = time.monotonic()
        try:
            yield started_s
        finally:
            self.spent_s[what] = self.spent_s.get(what, 0.0) + time.monotonic() - started_s
