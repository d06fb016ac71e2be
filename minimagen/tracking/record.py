"""What a run says of itself on disk: whose journal it is, which cascade it belongs to, and the names of these files.

The vocabulary shared by the stages that write it and the shipper that reads it. Knows no MLflow and no config.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from minimagen.files import write_json

JOURNAL_FILE = "journal.jsonl"
STAGE_LOCK = "stage.lock"
STAGE_FILE = "stage.json"
SHIP_LOCK = "ship.lock"
CASCADE_FILE = "cascade.json"
RUN_FILE = "mlflow.json"
SHIP_FILE = "ship.json"
SHIPPER_LOG = "shipper.log"

DATA_HASH = "data_sha256"
"""The parameter that names the data a stage read; it is also shown on the cascade and on the experiment."""

COMPARED = ("dim", "dim_mults", "num_steps", "num_epochs", DATA_HASH)
"""Parameters by which trainings are compared: they are tags as well, for MLflow's filters."""

_PARAM_COLUMN = "params."

FINAL_PREFIX = "final."
"""Leads the names of final numbers in the event that ends a run; the cascade shows them too."""

Ending = Literal["finish", "fail", "interrupt"]


@dataclass(frozen=True, slots=True)
class StageRecord:
    """Which run the journal of a folder belongs to."""

    run: str
    """Random name of the journal, the same for every continuation."""
    stage: str
    name: str
    """The U-Net or source of the stage; empty where there is none."""
    experiment: str
    cascade: str
    """Hash of the cascade, which names its folder below runs/cascade/."""
    fingerprint: str
    started_s: float
    """When the journal began, seconds since 1970."""

    @property
    def title(self) -> str:
        """The name of the run, different for different cascades."""
        return " ".join(filter(None, [self.stage, self.name, self.cascade[:6]]))


@dataclass(frozen=True, slots=True)
class CascadeRecord:
    """What the parent run of a cascade shows, whichever stage comes first."""

    title: str
    opened_s: float
    params: dict[str, str]
    columns: list[str]
    """What a table that compares it with others shows."""

    @property
    def headline(self) -> dict[str, str]:
        """The parameters among the columns, as far as they are known before any data: widths, depths and lengths."""
        names = [column.removeprefix(_PARAM_COLUMN) for column in self.columns if column.startswith(_PARAM_COLUMN)]
        return {name: self.params[name] for name in names if name in self.params}


def write_stage(folder: Path, record: StageRecord) -> None:
    """Writes whose journal lies in a run folder."""
    write_json(folder / STAGE_FILE, asdict(record))


def read_stage(folder: Path) -> StageRecord | None:
    """Reads whose journal lies in a run folder, None where no stage said so."""
    path = folder / STAGE_FILE
    return StageRecord(**json.loads(path.read_text())) if path.exists() else None


def cascade_folder(root: Path, cascade: str) -> Path:
    """Returns where the record of a cascade lies."""
    return root / "runs" / "cascade" / cascade


def write_cascade(folder: Path, record: CascadeRecord) -> None:
    """Writes the record of a cascade unless there is one; of two writers at once either may win."""
    path = folder / CASCADE_FILE
    if not path.exists():
        write_json(path, asdict(record))


def read_cascade(folder: Path) -> CascadeRecord:
    """Reads the record of a cascade.

    Raises:
        FileNotFoundError: no stage of this cascade ran here.
    """
    return CascadeRecord(**json.loads((folder / CASCADE_FILE).read_text()))
