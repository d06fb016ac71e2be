"""How far a running stage is, from what it tells anyway: its journal below runs/, and the lines of its progress.

Knows no stage's name and no Prefect.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from minimagen.journal import JournalError, read_located
from minimagen.tracking.record import JOURNAL_FILE, read_stage

# As minimagen.progress writes where there is no terminal: "train base 120/2500  loss 0.0312  41.0 images/s  ...".
_LINE = re.compile(r"^(?P<title>\S.*) (?P<done>\d+)/(?P<total>\d+)  (?P<note>.*)$")
_TOTAL = "num_steps"
_SLACK_S = 1.0


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a stage is."""

    num_done: int
    num_total: int
    note: str

    @property
    def percent(self) -> float:
        """0 to 100."""
        return 100.0 * min(1.0, self.num_done / self.num_total)


class StageProgress:
    """Follows one stage of one run of DVC."""

    def __init__(self, stage: str, root: Path, started_s: float) -> None:
        """``started_s``: when DVC was started, seconds since 1970; what a journal says of earlier times is old."""
        self._stage, self._root, self._started_s = stage, root, started_s
        self._journal: Path | None = None
        self._end_bytes = 0
        self._num_done = 0
        self._num_total: int | None = None
        self._has_steps = False
        self._note = ""

    def hear(self, line: str) -> None:
        """Takes a line of the stage's output."""
        found = _LINE.match(line)
        if found is not None and int(found["total"]):
            self._num_done, self._num_total = int(found["done"]), int(found["total"])
            self._note = f"{found['title']}: {found['note']}"

    def read(self) -> Reading | None:
        """Looks into the journal and returns how far the stage is; None where nothing tells."""
        if self._journal is None:
            self._journal = next(self._live_journals(), None)
        if self._journal is not None:
            self._read_on(self._journal)
        return Reading(self._num_done, self._num_total, self._note) if self._num_total else None

    def _live_journals(self) -> Iterator[Path]:
        for path in (self._root / "runs").glob(f"*/*/{JOURNAL_FILE}"):
            record = read_stage(path.parent)
            if record is None or path.stat().st_mtime < self._started_s - _SLACK_S:
                continue
            if "@".join(filter(None, [record.stage, record.name])) == self._stage:
                yield path

    def _read_on(self, path: Path) -> None:
        if path.stat().st_size < self._end_bytes:
            self._end_bytes = 0  # rewound to an earlier step
        try:
            for located in read_located(path, self._end_bytes):
                self._end_bytes = located.end_bytes
                entry = located.entry
                if entry.kind == "metric" and self._has_steps:
                    self._num_done = entry.step
                    self._note = ", ".join(f"{name} {value:.4g}" for name, value in entry.values.items())
                elif entry.kind == "param" and _TOTAL in entry.values:
                    self._num_total, self._has_steps = json.loads(str(entry.values[_TOTAL])), True
        except JournalError:
            self._end_bytes = 0  # rewritten while it was read; the next look sees the new one
