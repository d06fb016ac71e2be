"""What is done about numbers gone bad: skip a few steps, go back to the last saved state, give up.

Samples that are the cause are never drawn again. Decides and counts; reads and writes no file.

What is counted ends with the process: one that was told to stop has saved its last step, and the next one counts from
there. So steps skipped before a stop stay skipped, where an undisturbed run goes back behind them at the fourth.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch

from minimagen.errors import UserError
from minimagen.training.faults import StateSpoilt, TrainingDiverged
from minimagen.training.loop import StepReport

MAX_SKIPS = 3
MAX_ROLLBACKS = 3


@dataclass(slots=True)
class Recovery:
    """Counts skipped steps and rollbacks between two saves that went well."""

    save_every: int
    num_skips: int = 0
    num_rollbacks: int = 0
    last_step: int = 0
    """The latest one with a fault."""
    last_keys: tuple[str, ...] = ()

    def count(self, report: StepReport) -> None:
        """Counts a step.

        Raises:
            StateSpoilt: more than three steps were skipped.
        """
        if report.fault is None:
            if report.step % self.save_every == 0 and report.step > self.last_step:
                self.num_skips = self.num_rollbacks = 0
            return
        self.num_skips += 1
        self.last_step, self.last_keys = max(report.step, self.last_step), report.fault.sample_keys
        if self.num_skips > MAX_SKIPS:
            raise StateSpoilt(report.step, (), f"{report.fault.what}, after {MAX_SKIPS} skipped steps")

    def count_rollback(self, error: StateSpoilt) -> None:
        """Counts a return to the last saved state.

        Raises:
            TrainingDiverged: there were three already.
        """
        self.num_skips = 0
        self.num_rollbacks += 1
        if self.num_rollbacks > MAX_ROLLBACKS:
            what = f"{error.what}, and going back to the last saved state {MAX_ROLLBACKS} times did not help"
            raise TrainingDiverged(error.step, what, self.last_keys) from error
        self.last_step = max(error.step, self.last_step)


@dataclass(slots=True)
class Quarantine:
    """Samples that are never drawn again."""

    keys: Sequence[str]
    """Of all samples, in the order of the data set."""
    _positions: set[int] = field(default_factory=set)

    @property
    def names(self) -> tuple[str, ...]:
        """Keys of the samples in it, in the order of the data set."""
        return tuple(self.keys[position] for position in sorted(self._positions))

    def add(self, keys: Iterable[str]) -> None:
        """Takes samples in, by key.

        Raises:
            UserError: then there would be none left.
        """
        wanted = set(keys)
        if wanted:
            self._positions |= {position for position, key in enumerate(self.keys) if key in wanted}
        if len(self._positions) == len(self.keys):
            raise UserError(f"the loss of every one of {len(self.keys)} samples is not finite: look at the data")

    def replace(self, indices: torch.Tensor) -> torch.Tensor:
        """Returns positions in the data set, each of a quarantined sample replaced by the next one that is not."""
        if not self._positions:
            return indices
        return torch.tensor([self._next_good(position) for position in indices.tolist()], dtype=indices.dtype)

    def _next_good(self, position: int) -> int:
        while position in self._positions:
            position = (position + 1) % len(self.keys)
        return position
