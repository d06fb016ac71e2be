"""What the folders below runs/ say of the cascade that params.yaml describes: its MLflow runs, its newest picture.

Reads files alone: MLflow is not asked. Knows no Prefect.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from minimagen.config import ConfigError, load_params
from minimagen.journal import Entry, read_journal
from minimagen.tracking.flat import cascade_hash
from minimagen.tracking.location import is_tracking_on, project_root
from minimagen.tracking.record import JOURNAL_FILE, RUN_FILE, cascade_folder, read_stage

PAGES = "http://127.0.0.1:5000"
"""Where `make ui` shows MLflow's pages."""


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """A run in MLflow."""

    title: str
    run_id: str

    @property
    def url(self) -> str:
        """Its page, on the tracking server, or on the one that `make ui` starts."""
        server = os.environ.get("MLFLOW_TRACKING_URI", "")
        pages = server.rstrip("/") if server.startswith("http") else PAGES
        return f"{pages}/#/runs/{self.run_id}"


@dataclass(frozen=True, slots=True)
class TrackedCascade:
    """The cascade of a project as MLflow and the journals have it."""

    run: TrackedRun | None
    stages: tuple[TrackedRun, ...]
    picture: Path | None
    """The newest picture that the last stage with pictures has drawn."""


def tracked_cascade(root: Path) -> TrackedCascade | None:
    """Returns what is known of the cascade of a project; None where params.yaml describes none."""
    try:
        cascade = cascade_hash(load_params(root / "params.yaml"))
    except ConfigError:
        return None
    root = project_root(root)
    stages: list[tuple[float, TrackedRun]] = []
    pictures: list[tuple[float, Path]] = []
    for path in (root / "runs").glob(f"*/*/{JOURNAL_FILE}"):
        record = read_stage(path.parent)
        if record is None or record.cascade != cascade:
            continue
        run_id = _run_id(path.parent)
        if run_id is not None:
            stages.append((record.started_s, TrackedRun(record.title, run_id)))
        pictures += [(record.started_s, path.parent / str(entry.values["path"])) for entry in _images(path)]
    run_id = _run_id(cascade_folder(root, cascade))
    whole = TrackedRun(f"cascade {cascade[:6]}", run_id) if run_id else None
    shown = [path for _, path in sorted(pictures, key=lambda pair: pair[0]) if path.is_file()]
    return TrackedCascade(
        whole, tuple(run for _, run in sorted(stages, key=lambda pair: pair[0])), (shown or [None])[-1]
    )


def _run_id(folder: Path) -> str | None:
    path = folder / RUN_FILE
    return json.loads(path.read_text())["run_id"] if is_tracking_on() and path.exists() else None


def _images(journal: Path) -> Iterator[Entry]:
    return (entry for entry in read_journal(journal) if entry.kind == "image")
