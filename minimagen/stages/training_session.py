"""A running training as the main process sees it: what is told and saved between optimiser steps.

Writes only below its run folder. Does not know where data come from nor where results go.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from minimagen.datasets.captioned import CaptionedImages
from minimagen.progress import Progress
from minimagen.stages.copying_guard import CopyingGuard
from minimagen.stages.crash_loop import Attempt
from minimagen.stages.training_course import Course, RolledBack
from minimagen.stages.training_follow_up import FollowUp, tell_refusal
from minimagen.tensor_file import NotFiniteError
from minimagen.tracking.stage import TrackedStage
from minimagen.training.checkpoint import Beside, save_state
from minimagen.training.curves import TRAIN_LOSS
from minimagen.training.faults import Fault, named_samples
from minimagen.training.interrupt import Interrupt
from minimagen.training.loop import StepReport

logger = logging.getLogger(__name__)

REPORT_EVERY = 10
STATES = "states"
"""Where run states lie in a run folder."""


@dataclass(slots=True)
class Session:
    """A training with its surroundings; ``run`` takes it to its end."""

    course: Course
    held_out: CaptionedImages
    tracked: TrackedStage
    interrupt: Interrupt
    guard: CopyingGuard = field(init=False)
    follow_up: FollowUp = field(init=False)
    unreported_losses: list[float] = field(default_factory=list)
    """Losses since the last reported mean; part of a saved state, so that curves do not depend on interruptions."""
    unreported_s: float = 0.0
    spent_s: dict[str, float] = field(default_factory=dict)
    """Seconds of this process by what they went into."""
    saved_step: int = 0
    """That of the newest saved state; 0 is the start."""
    num_steps_done: int = 0
    """Optimiser steps of this process."""

    def __post_init__(self) -> None:
        """Prepares what is done after a step."""
        self.guard = CopyingGuard(self.course, self.tracked)
        self.follow_up = FollowUp(self.course, self.held_out, self.tracked, self.interrupt, self.guard, self._spending)

    @property
    def states_folder(self) -> Path:
        """Where run states lie."""
        return self.tracked.run_folder / STATES

    def resume(self) -> None:
        """Takes up the newest saved state, if there is one, and drops what the journal says of later steps."""
        with self._spending("load"):
            resumed = self.course.resume(self.states_folder)
        if resumed is not None:
            self.unreported_losses = list(resumed.beside.unreported_losses)
            self.saved_step = resumed.step
            logger.info("going on after step %d of %d", resumed.step, self.course.record.num_steps)
        self.tracked.journal.rewind(self.course.state.step)
        self.guard.resume()

    def run(self, attempt: Attempt) -> None:
        """Trains to the last step, to the end of the step in which a signal comes, or until it copies; saves the state.

        Args:
            attempt: told of each step before it is done.

        Raises:
            TrainingDiverged: numbers went bad, and neither leaving samples out nor going back helped.
            OSError: the disk refused the last state; an earlier one that it refuses is only told in the log.
        """
        course, steps = self.course, self.course.recovering_steps(self.states_folder)
        num_steps = course.record.num_steps
        self.follow_up.do_what_was_left()
        with Progress(f"train {course.record.name}", num_steps, num_done=course.state.step) as progress:
            is_stopping = course.ranks.is_told_to_stop(self.interrupt, is_over=self.guard.is_stopped)
            while not is_stopping:
                attempt.begin(course.state.step + 1)
                with self._spending("train") as started_s:
                    report = next(steps, None)
                if report is None:
                    return
                if isinstance(report, RolledBack):
                    self._go_back(report)
                else:
                    self._report(report, time.monotonic() - started_s)
                    progress.advance(report.num_images, f"loss {report.loss:.4f}")
                    self._do_what_is_due(report.step)
                # Read once, as often as the other processes do: a signal that comes while saving ends the next step,
                # whose state is then saved.
                is_stopping = course.ranks.is_told_to_stop(self.interrupt, is_over=self.guard.is_stopped)
                # What was gone back to is saved already, but for the samples that are left out since.
                is_due = not isinstance(report, RolledBack) and self._is_due_to_save(report.step)
                if is_stopping or is_due:
                    self._save(is_last=is_stopping or course.state.step == num_steps)

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
        self.unreported_s += step_s
        if report.fault is None:
            self.unreported_losses.append(report.loss)
        else:
            self._tell_skipped(report.step, report.fault)
        is_due = report.step % REPORT_EVERY == 0 or report.step == self.course.record.num_steps
        if not is_due or not self.unreported_losses:
            return
        mean = sum(self.unreported_losses) / len(self.unreported_losses)
        values = {TRAIN_LOSS: mean, "learning_rate": report.learning_rate}
        if not report.is_skipped and report.fault is None:
            values["grad_norm"] = report.grad_norm
        num_timed = min(len(self.unreported_losses), self.num_steps_done)
        values["images_per_s"] = num_timed * report.num_images / self.unreported_s
        self.tracked.metrics(report.step, values)
        self.unreported_losses, self.unreported_s = [], 0.0

    def _tell_skipped(self, step: int, fault: Fault) -> None:
        left_out = ", which are left out from now on" if fault.is_of_samples else ""
        logger.warning(
            "step %d is skipped: %s; samples %s%s", step, fault.what, named_samples(fault.sample_keys), left_out
        )
        self.tracked.event(step, {"event": "skip", "what": fault.what, "samples": "\n".join(fault.sample_keys)})

    def _go_back(self, report: RolledBack) -> None:
        step = report.resumed.step
        logger.warning("%s: going back to the state after step %d", report.why, step)
        self.tracked.journal.rewind(step)
        left_out = "\n".join(self.course.quarantine.names)
        self.tracked.event(step, {"event": "rollback", "why": report.why, "left_out": left_out})
        self.unreported_losses, self.unreported_s = list(report.resumed.beside.unreported_losses), 0.0
        self.guard.go_back()

    def _do_what_is_due(self, step: int) -> None:
        self.follow_up.do(step)

    def _is_due_to_save(self, step: int) -> bool:
        return step % self.course.config.save_every == 0 or step == self.course.record.num_steps

    def _save(self, *, is_last: bool) -> None:
        step, beside = self.course.state.step, Beside(tuple(self.unreported_losses), self.course.quarantine.names)
        try:
            with self._spending("save"):
                # A state without the entries before it would go on with a hole in its curves.
                self.tracked.journal.sync()
                save_state(
                    self.states_folder,
                    self.course.state,
                    scaler=self.course.accelerator.scaler,
                    beside=beside,
                    device=self.course.objective.device,
                )
        except NotFiniteError:
            # The next step goes back, or the next process goes on from an earlier state.
            logger.warning("the state after step %d is not sound, so it is not saved", step)
        except OSError as error:
            if is_last:
                raise
            tell_refusal(f"the state after step {step}", error)
        else:
            self.saved_step = step

    @contextmanager
    def _spending(self, what: str) -> Iterator[float]:
        started_s = time.monotonic()
        try:
            yield started_s
        finally:
            self.spent_s[what] = self.spent_s.get(what, 0.0) + time.monotonic() - started_s
