"""How far a long piece of work is: a bar on a terminal, elsewhere one line every half minute.

Knows nothing of the work. Writes to standard error; what is told here is told nowhere else and changes no result.
"""

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

LINE_EVERY_S = 30.0


class Progress:
    """Counts steps and units (images, captions, rows) of one piece of work and tells speed and time left.

    Args:
        num_steps: steps of the whole work.
        num_done: steps already done when it starts, by an earlier process; they count as progress, not as speed.
        unit: what ``advance`` counts besides steps, in the plural.
        line_every_s: seconds between lines where the stream is no terminal.
        clock: seconds, never running backwards.
    """

    def __init__(
        self,
        title: str,
        num_steps: int,
        *,
        num_done: int = 0,
        unit: str = "images",
        stream: TextIO | None = None,
        line_every_s: float = LINE_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title, self._unit = title, unit
        self._num_steps, self._num_first, self._num_done = num_steps, num_done, num_done
        self._num_units = 0
        self._stream = sys.stderr if stream is None else stream
        self._line_every_s, self._clock = line_every_s, clock
        self._started_s = self._last_line_s = clock()
        self._bar = _bar(self._stream) if self._stream.isatty() else None
        self._task = (
            None if self._bar is None else self._bar.add_task(title, total=num_steps, completed=num_done, note="")
        )

    def advance(self, num_units: int, note: str = "") -> None:
        """Counts one more step, which dealt with ``num_units``; ``note`` is shown beside it ("loss 0.031")."""
        self._num_done += 1
        self._num_units += num_units
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._num_done, note=self._described(note))
        elif self._clock() - self._last_line_s >= self._line_every_s:
            self._last_line_s = self._clock()
            self._stream.write(f"{self._title} {self._num_done}/{self._num_steps}  {self._described(note)}\n")
            self._stream.flush()

    @property
    def units_per_s(self) -> float:
        """Units per second since the start; 0 before the first step."""
        elapsed_s = self._clock() - self._started_s
        return self._num_units / elapsed_s if elapsed_s > 0 else 0.0

    @property
    def left_s(self) -> float:
        """Seconds to the end at the speed since the start; 0 before the first step."""
        num_own = self._num_done - self._num_first
        elapsed_s = self._clock() - self._started_s
        return elapsed_s / num_own * (self._num_steps - self._num_done) if num_own else 0.0

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _described(self, note: str) -> str:
        left = timedelta(seconds=round(self.left_s))
        speed = f"{self.units_per_s:.1f} {self._unit}/s  {left} left"
        return f"{note}  {speed}" if note else speed


def _bar(stream: TextIO) -> RichProgress:
    return RichProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(file=stream),
        refresh_per_second=4,
    )
