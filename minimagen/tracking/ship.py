"""Ships the journals of runs to MLflow, each entry once, going on where an earlier shipment ended however it ended.

The server is the authority on what it holds: after a crash, a timeout or a lost answer it is asked, never guessed. A
journal and the files beside it are enough to ship a whole run later. Knows neither processes nor schedules.
"""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from minimagen.journal import JournalError, count_rewinds, read_journal, read_located
from minimagen.tracking.location import has_mlflow, is_tracking_on, place_name
from minimagen.tracking.lock import LockedError, exclusive, is_locked
from minimagen.tracking.record import JOURNAL_FILE, SHIP_LOCK, STAGE_FILE, STAGE_LOCK, read_stage
from minimagen.tracking.runs import Tracker
from minimagen.tracking.shipment import Shipment, Shipped, read_shipped

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ShipReport:
    """What one shipment did. ``problem`` is None where nothing is left to ship."""

    folder: Path
    num_points: int
    problem: str | None = None
    is_unreachable: bool = False
    """Whether the tracker is what failed, so that other journals would fare no better."""


def ship_pending(root: Path) -> list[ShipReport]:
    """Ships what is left of every run below ``root``; a run that MLflow no longer has is shipped whole.

    Returns:
        A report for each run folder, oldest first; none where tracking is off or mlflow is not installed.
    """
    if not is_tracking_on() or not has_mlflow():
        return []
    tracker = Tracker(root)
    reports: list[ShipReport] = []
    for folder in journal_folders(root):
        if reports and reports[-1].is_unreachable:
            reports.append(ShipReport(folder, 0, "not tried: the tracker does not answer", is_unreachable=True))
        else:
            reports.append(ship_folder(folder, tracker))
    return reports


def journal_folders(root: Path) -> list[Path]:
    """Returns the run folders that hold a journal, oldest first."""
    paths = (root / "runs").glob(f"*/*/{JOURNAL_FILE}")
    return [path.parent for path in sorted(paths, key=lambda path: (_first_time_s(path), path))]


def has_unshipped(folder: Path) -> bool:
    """Returns whether a run folder has something to ship, as far as can be told without asking MLflow."""
    journal, shipped = folder / JOURNAL_FILE, read_shipped(folder)
    if not journal.exists():
        return False
    if shipped is None or shipped.end_bytes != journal.stat().st_size:
        return True
    return shipped.status == "RUNNING" and not is_locked(folder / STAGE_LOCK)


def ship_folder(folder: Path, tracker: Tracker) -> ShipReport:
    """Ships what is left of one run; whatever goes wrong stands in the report and in the log."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with exclusive(folder / SHIP_LOCK):
            return _ship(folder, tracker)
    except LockedError as error:
        return ShipReport(folder, 0, str(error))
    except (JournalError, KeyError, FileNotFoundError) as error:
        report = ShipReport(folder, 0, f"{type(error).__name__}: {error}")
    except (MlflowException, SQLAlchemyError, OSError) as error:
        is_refused = isinstance(error, MlflowException) and error.error_code == "INVALID_PARAMETER_VALUE"
        problem = _without_password(f"{type(error).__name__}: {error}")
        report = ShipReport(folder, 0, problem, is_unreachable=not is_refused)
    logger.warning("%s: not shipped: %s", folder, report.problem)
    return report


def _ship(folder: Path, tracker: Tracker) -> ShipReport:
    journal = folder / JOURNAL_FILE
    record = read_stage(folder)
    if record is None:
        return ShipReport(folder, 0, f"{folder}: says not whose it is (no {STAGE_FILE})")
    runs = tracker.stage_run(record, folder)
    rewinds = count_rewinds(journal)
    shipped = read_shipped(folder)
    if shipped is None or (shipped.run_id, shipped.rewinds) != (runs.stage, rewinds):
        shipped = Shipped(place_name(), runs.stage, rewinds, 0, "", record.started_s)
    shipment = Shipment(folder, record, tracker, runs, shipped)
    for located in read_located(journal, shipped.end_bytes):
        shipment.add(located.entry, located.end_bytes)
    shipment.close()
    return ShipReport(folder, shipment.num_points)


def _first_time_s(path: Path) -> float:
    try:
        return next((entry.time_s for entry in read_journal(path)), 0.0)
    except (JournalError, FileNotFoundError):
        return 0.0


def _without_password(message: str) -> str:
    return re.sub(r"//[^/@\s]+@", "//", " ".join(message.split()))
