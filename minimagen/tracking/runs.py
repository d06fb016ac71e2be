"""Which MLflow run belongs to what: an experiment per dataset, a parent run per cascade, a child run per stage.

Finds or creates them, however often and from however many processes it is asked. Knows no journal.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from minimagen.files import write_json
from minimagen.tracking.location import artifact_location, place_name, tracking_uri
from minimagen.tracking.lock import exclusive
from minimagen.tracking.record import RUN_FILE, StageRecord, cascade_folder, read_cascade
from minimagen.tracking.view import CASCADE_TAG, STAGE_TAG, view_tags
from minimagen.tracking.writer import RunWriter

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

RUN_TAG = "minimagen.run"
_PARENT_TAG = "mlflow.parentRunId"
_LOCK_WAIT_S = 10.0
_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
_ENVIRONMENT = {
    _RETRIES: "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT": "15",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


@dataclass(frozen=True, slots=True)
class RunIds:
    """MLflow's names of a stage's run and of its cascade's."""

    stage: str
    cascade: str


class Tracker:
    """The tracking server of a project; mlflow is imported and connected to at the first question."""

    def __init__(self, root: Path) -> None:
        """``root`` is the project, which holds runs/ and mlflow.db."""
        self.root = root
        self._client: MlflowClient | None = None
        self._experiments: dict[str, str] = {}

    @property
    def client(self) -> "MlflowClient":
        """MLflow's client, with timeouts that end."""
        if self._client is None:
            for name, value in _ENVIRONMENT.items():
                os.environ.setdefault(name, value)
            from mlflow.tracking import MlflowClient

            self._client = MlflowClient(tracking_uri=tracking_uri(self.root))
        return self._client

    def stage_run(self, record: StageRecord, run_folder: Path) -> RunIds:
        """Finds a stage's run and its parent, creating them and their experiment where missing.

        The caller holds the lock of the run folder.
        """
        parent = self.cascade_run(record)
        tags = {"mlflow.source.type": "LOCAL", RUN_TAG: record.run, STAGE_TAG: record.stage, _PARENT_TAG: parent}
        run_id = self._find_or_create(run_folder, record.experiment, RUN_TAG, record.title, record.started_s, tags)
        if self.client.get_run(run_id).data.tags.get(_PARENT_TAG) != parent:
            self.client.set_tag(run_id, _PARENT_TAG, parent)
        return RunIds(run_id, parent)

    def cascade_run(self, record: StageRecord) -> str:
        """Returns the id of a cascade's run, creating it with all parameters of the cascade where missing; those that a
        table compares are tags too, for MLflow's filters."""
        folder = cascade_folder(self.root, record.cascade)
        cascade = read_cascade(folder)
        tags = {CASCADE_TAG: record.cascade}
        with exclusive(folder / "mlflow.lock", _LOCK_WAIT_S):
            run_id = self._find_or_create(folder, record.experiment, CASCADE_TAG, cascade.title, cascade.opened_s, tags)
            writer = RunWriter(self.client, run_id)
            writer.params(cascade.params)
            writer.tags(cascade.headline)
            self.tag_experiment(record.experiment, view_tags(cascade.columns))
        return run_id

    def experiment(self, name: str) -> str:
        """Returns the id of an experiment, created or restored where needed."""
        if name not in self._experiments:
            found = self.client.get_experiment_by_name(name)
            if found is None:
                self._experiments[name] = self._create_experiment(name)
            else:
                if found.lifecycle_stage != "active":
                    self.client.restore_experiment(found.experiment_id)
                self._experiments[name] = found.experiment_id
        return self._experiments[name]

    def tag_experiment(self, name: str, tags: Mapping[str, object]) -> None:
        """Sets tags of an experiment, the latest value counts."""
        present = self.client.get_experiment(self.experiment(name)).tags
        for key, value in tags.items():
            if present.get(key) != str(value):
                self.client.set_experiment_tag(self.experiment(name), key, str(value))

    def _create_experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        try:
            return self.client.create_experiment(name, artifact_location=artifact_location(self.root))
        except MlflowException:
            # Another process may have been first.
            found = self.client.get_experiment_by_name(name)
            if found is None:
                raise
            return found.experiment_id

    def _find_or_create(
        self, folder: Path, experiment: str, key: str, title: str, started_s: float, tags: dict[str, str]
    ) -> str:
        """Looks in the folder's file, then for the tag (a creation whose answer was lost), then creates."""
        known = _read_run_id(folder)
        if known is not None and self._is_active(known):
            return known
        experiment_id = self.experiment(experiment)
        run_id = self._search(experiment_id, key, tags[key])
        if run_id is None:
            run_id = self._create_run(experiment_id, key, title, started_s, tags)
        write_json(folder / RUN_FILE, {"place": place_name(), "run_id": run_id})
        return run_id

    def _search(self, experiment_id: str, key: str, value: str) -> str | None:
        found = self.client.search_runs([experiment_id], f"tags.`{key}` = '{value}'", max_results=1)
        return found[0].info.run_id if found else None

    def _create_run(self, experiment_id: str, key: str, title: str, started_s: float, tags: dict[str, str]) -> str:
        """Creates a run; a lost answer must not make MLflow's client repeat the request, which would make two."""
        from mlflow.exceptions import MlflowException

        retries = os.environ[_RETRIES]
        os.environ[_RETRIES] = "0"
        try:
            return self.client.create_run(experiment_id, round(started_s * 1000), tags, title).info.run_id
        except MlflowException:
            run_id = self._search(experiment_id, key, tags[key])
            if run_id is None:
                raise
            return run_id
        finally:
            os.environ[_RETRIES] = retries

    def _is_active(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise


def _read_run_id(folder: Path) -> str | None:
    path = folder / RUN_FILE
    if not path.exists():
        return None
    known = json.loads(path.read_text())
    return known["run_id"] if known["place"] == place_name() else None
