"""One journal's entries on their way into two runs: that of the stage and, for what is final, that of its cascade.

Remembers beside the journal how far it came. Does not know how runs are found or when it is called.
"""

import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from minimagen.files import write_json
from minimagen.journal import Entry
from minimagen.tracking.location import place_name
from minimagen.tracking.lock import is_locked
from minimagen.tracking.record import COMPARED, DATA_HASH, FINAL_PREFIX, SHIP_FILE, STAGE_LOCK, StageRecord
from minimagen.tracking.runs import RunIds, Tracker
from minimagen.tracking.writer import RunWriter

logger = logging.getLogger(__name__)

_STATUS = {"start": "RUNNING", "finish": "FINISHED", "fail": "FAILED", "interrupt": "KILLED"}


@dataclass(frozen=True, slots=True)
class Shipped:
    """How far a journal has been shipped, where to, and which status was shown."""

    place: str
    run_id: str
    rewinds: int
    end_bytes: int
    status: str
    status_s: float


def read_shipped(folder: Path) -> Shipped | None:
    """Reads how far a journal was shipped to the tracker of today; None is not at all."""
    path = folder / SHIP_FILE
    if not path.exists():
        return None
    shipped = Shipped(**json.loads(path.read_text()))
    return shipped if shipped.place == place_name() else None


class Shipment:
    """The entries of one journal from where the last shipment ended. Sending one twice leaves one."""

    def __init__(self, folder: Path, record: StageRecord, tracker: Tracker, runs: RunIds, shipped: Shipped) -> None:
        """Asks the server what both runs hold."""
        self._folder = folder
        self._record = record
        self._tracker = tracker
        self._stage = RunWriter(tracker.client, runs.stage)
        self._cascade = RunWriter(tracker.client, runs.cascade)
        self._before = shipped
        self._now = shipped

    @property
    def num_points(self) -> int:
        """Points that the server took and did not have."""
        return self._stage.num_points

    def add(self, entry: Entry, end_bytes: int) -> None:
        """Takes an entry; points may wait for more, so only ``close`` says that all has arrived."""
        if entry.kind == "metric":
            for key, value in entry.values.items():
                self._stage.point(key, float(value), entry.step, entry.time_s)
        elif entry.kind == "param":
            self._add_params(entry)
        elif entry.kind == "tag":
            self._stage.tags(entry.values)
        elif entry.kind == "event":
            self._add_event(entry)
        else:
            self._add_file(entry)
        last_seen_s = entry.time_s if self._now.status == "RUNNING" else self._now.status_s
        self._now = replace(self._now, end_bytes=end_bytes, status_s=last_seen_s)
        if self._stage.is_full:
            self._save()

    def close(self) -> None:
        """Sends what waits and shows the status; a run that says it is running, but is not, was killed."""
        if self._now.status == "RUNNING" and not is_locked(self._folder / STAGE_LOCK):
            self._now = replace(self._now, status="KILLED")
        self._stage.flush()
        self._cascade.flush()
        if self._now.status != self._before.status and self._now.status:
            for run in (self._stage, self._cascade):
                run.show_status(self._now.status, self._now.status_s)
        if self._now != self._before:
            self._save()

    def _save(self) -> None:
        self._stage.flush()
        self._cascade.flush()
        write_json(self._folder / SHIP_FILE, asdict(self._now))

    def _add_params(self, entry: Entry) -> None:
        self._stage.params(entry.values)
        self._stage.tags({name: entry.values[name] for name in COMPARED if name in entry.values})
        if DATA_HASH in entry.values:
            data_hash = {DATA_HASH: entry.values[DATA_HASH]}
            self._cascade.params(data_hash)
            self._cascade.tags(data_hash)
            self._tracker.tag_experiment(self._record.experiment, data_hash)

    def _add_event(self, entry: Entry) -> None:
        status = _STATUS.get(str(entry.values.get("event")))
        if status is None:
            return
        self._now = replace(self._now, status=status, status_s=entry.time_s)
        self._stage.tags({"error": entry.values.get("error", "")} if status == "FAILED" else {})
        for key, value in entry.values.items():
            if key.startswith(FINAL_PREFIX):
                name = ".".join(filter(None, [self._record.name, key.removeprefix(FINAL_PREFIX)]))
                self._cascade.summary(name, float(value), entry.time_s)

    def _add_file(self, entry: Entry) -> None:
        path = self._folder / str(entry.values["path"])
        if not path.is_file():
            logger.warning("%s: %s of step %d is gone, not shipped", self._folder, path.name, entry.step)
        elif entry.kind == "image":
            key, caption = str(entry.values["key"]), str(entry.values["caption"])
            self._stage.image(path, key, caption, entry.step, entry.time_s)
        else:
            self._stage.file(path, str(entry.values["folder"]))
