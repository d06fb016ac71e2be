"""What a stage tells the world while it runs: all of it goes into the journal of its run folder first.

A stage uses this and needs no mlflow: the journal alone can be shown in MLflow later, by ``ship_pending``.
"""

import logging
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from minimagen.config import Params
from minimagen.journal import Journal, Value, read_journal
from minimagen.tracking.flat import (
    StageName,
    cascade_hash,
    cascade_name,
    cascade_params,
    comparison_columns,
    experiment_name,
    stage_params,
)
from minimagen.tracking.location import has_mlflow, is_tracking_on, project_root
from minimagen.tracking.lock import exclusive
from minimagen.tracking.record import (
    FINAL_PREFIX,
    JOURNAL_FILE,
    STAGE_LOCK,
    CascadeRecord,
    Ending,
    StageRecord,
    cascade_folder,
    read_stage,
    write_cascade,
    write_stage,
)
from minimagen.tracking.shipper import ShipperHandle, start_shipper

logger = logging.getLogger(__name__)

FINISH_TIMEOUT_S = 20.0
VERDICT = "verdict"
"""The tag in which a run says how it goes."""
_STOP_CODES = (128 + 2, 128 + 15)


class TrackedStage:
    """A running stage as seen from outside; a context manager made by ``tracked_stage``.

    Leaving the block writes how the stage ended: finished, failed (an exception) or interrupted (KeyboardInterrupt, or
    SystemExit with 130 or 143).
    """

    def __init__(self, journal: Journal, run_folder: Path, shipper: ShipperHandle | None, held: ExitStack) -> None:
        """Use ``tracked_stage``. ``held`` is closed when the stage ends."""
        self.journal = journal
        self.run_folder = run_folder
        self._shipper = shipper
        self._held = held
        self._has_ended = False

    def params(self, values: Mapping[str, Value]) -> None:
        """Adds parameters known only now; ``data_sha256`` names the data that the stage reads."""
        self.journal.append("param", 0, values)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a point to each curve; MLflow shows the first point of each (name, step). A full disk stops nothing."""
        self.journal.append_or_hold("metric", step, values)

    def image(self, step: int, key: str, path: Path, caption: str) -> None:
        """Adds a picture that lies inside the run folder to the series ``key``."""
        relative = path.resolve().relative_to(self.run_folder.resolve())
        self.journal.append_or_hold("image", step, {"path": relative.as_posix(), "key": key, "caption": caption})

    def event(self, step: int, values: Mapping[str, Value]) -> None:
        """Adds something that happened; ``event`` names it."""
        self.journal.append_or_hold("event", step, values)

    def verdict(self, step: int, text: str) -> None:
        """Says in plain words how it goes; a later word replaces an earlier one. A full disk stops nothing."""
        self.journal.append_or_hold("tag", step, {VERDICT: text})

    def finish(self, metrics: Mapping[str, float] | None = None, artifacts: Iterable[Path] = ()) -> None:
        """Writes the final numbers, which the cascade shows too, keeps copies of small files, and ends the run."""
        step = self.journal.last_step
        for path in artifacts:
            kept = self.run_folder / "artifacts" / path.name
            kept.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, kept)
            relative = kept.relative_to(self.run_folder).as_posix()
            self.journal.append("artifact", step, {"path": relative, "folder": ""})
        told = self._told_at(step) if metrics else set[str]()
        new = {name: value for name, value in (metrics or {}).items() if name not in told}
        if new:
            self.journal.append("metric", step, new)
        self._end("finish", {FINAL_PREFIX + name: value for name, value in (metrics or {}).items()})

    def _told_at(self, step: int) -> set[str]:
        """Returns the metrics that have a point at a step: of a process that was killed after it had told its last."""
        entries = read_journal(self.journal.path)
        return {name for entry in entries if (entry.kind, entry.step) == ("metric", step) for name in entry.values}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                self._end(*_ending_of(error))
            elif not self._has_ended:
                self.finish()
        except OSError as refused:
            if error is None:
                raise
            logger.warning("%s: the end of the run is not recorded: %s", self.journal.path, refused)
        finally:
            if self._shipper is not None:
                self._shipper.finish(FINISH_TIMEOUT_S)
            self._held.close()

    def _end(self, ending: Ending, values: Mapping[str, Value]) -> None:
        self.journal.append("event", self.journal.last_step, {"event": ending, **values})
        self.journal.sync()
        self._has_ended = True


def tracked_stage(
    root: Path,
    params: Params,
    *,
    stage: StageName,
    name: str | None,
    run_folder: Path,
    fingerprint: str,
    is_live: bool,
) -> TrackedStage:
    """Opens the journal of a run folder, a new one or the one to continue, and records who runs and why.

    Args:
        root: the project; inside a command of DVC its repository counts instead.
        name: the source or U-Net of the stage, else None.
        is_live: whether a shipper shows the run in MLflow meanwhile; otherwise the next live stage ships this one too.

    Raises:
        LockedError: another process runs in this folder.
        JournalError: the journal of the folder is corrupt.
    """
    root = project_root(root)
    held = ExitStack()
    try:
        held.enter_context(exclusive(run_folder / STAGE_LOCK))
        journal = Journal.open(run_folder / JOURNAL_FILE)
        held.callback(journal.close)
        _record_start(root, params, stage, name or "", run_folder, fingerprint)
        journal.append("event", 0, {"event": "start"})
        journal.append("param", 0, stage_params(params, stage, name))
        journal.append("tag", 0, _origin_tags(root, stage, name or "", fingerprint))
        journal.sync()
        shipper = start_shipper(root, run_folder) if is_live and _can_ship() else None
    except BaseException:
        held.close()
        raise
    return TrackedStage(journal, run_folder, shipper, held)


def _record_start(root: Path, params: Params, stage: StageName, name: str, folder: Path, fingerprint: str) -> None:
    earlier = read_stage(folder)
    record = StageRecord(
        run=earlier.run if earlier else uuid.uuid4().hex,
        stage=stage,
        name=name,
        experiment=experiment_name(params),
        cascade=cascade_hash(params),
        fingerprint=fingerprint,
        started_s=earlier.started_s if earlier else time.time(),
    )
    cascade = CascadeRecord(cascade_name(params), time.time(), cascade_params(params), comparison_columns(params))
    write_cascade(cascade_folder(root, record.cascade), cascade)
    write_stage(folder, record)


def _origin_tags(root: Path, stage: StageName, name: str, fingerprint: str) -> dict[str, str]:
    tags = {
        "mlflow.source.name": f"minimagen {stage} {name}".strip(),
        "mlflow.source.git.commit": _git_revision(root),
        "dvc_stage": os.environ.get("DVC_STAGE", ""),
        "fingerprint": fingerprint,
        "prefect_flow_run": os.environ.get("MINIMAGEN_FLOW_RUN_ID", ""),
    }
    return {key: value for key, value in tags.items() if value}


def _git_revision(root: Path) -> str:
    try:
        command = ["git", "-C", str(root), "rev-parse", "--verify", "--quiet", "HEAD"]
        return subprocess.run(command, capture_output=True, check=False, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _can_ship() -> bool:
    if not is_tracking_on():
        return False
    if not has_mlflow():
        logger.info("mlflow is not installed: the run stays in its journal, `minimagen ship` shows it later")
        return False
    return True


def _ending_of(error: BaseException) -> tuple[Ending, dict[str, Value]]:
    """The type of an error is told, never its message, which may hold a secret."""
    if isinstance(error, KeyboardInterrupt) or (isinstance(error, SystemExit) and error.code in _STOP_CODES):
        return "interrupt", {}
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return "finish", {}
    return "fail", {"error": type(error).__name__}
