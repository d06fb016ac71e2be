"""The registry of trained cascades in MLflow: one version per content, and who is champion, previous and challenger.

A cascade goes in only after every hash held, and comes out only if they still do. Its files lie beside a run as they
are, once, with those that make their folder an MLflow model: nothing is pickled. The champion's alias is the one thing
that decides; which champion came before stands in a tag of each champion, written before the alias moves, so a crash
between any two steps is healed by the next call.
"""

import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from minimagen.errors import UserError
from minimagen.sealed import replace_folder
from minimagen.tracking.lock import exclusive
from minimagen.tracking.model_files import write_model_files
from minimagen.tracking.registered_files import content_sha256, verified_files
from minimagen.tracking.runs import Tracker

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous", "challenger"
EVALUATION = ("eval/scores.json", "eval/metrics.json")
"""Kept beside a cascade where they are: what the gate compares. They are no part of its content."""
_HASH, _REPLACES, _WITHDRAWN = "cascade_sha256", "replaces", "withdrawn"
_FOLDER = "cascade"
_LOCK_WAIT_S = 120.0
_NUM_NAME_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Version:
    """One registered cascade."""

    number: int
    cascade_sha256: str
    run_id: str
    tags: Mapping[str, str]

    @property
    def was_withdrawn(self) -> bool:
        """Whether it was champion and was rolled back."""
        return self.tags.get(_WITHDRAWN) == "true"


class Registry:
    """The cascades of one dataset, in the tracking server of a project."""

    def __init__(self, root: Path, dataset: str) -> None:
        """``dataset`` is the name of MLflow's experiment, ``flat.experiment_name``."""
        self.name = f"minimagen-{dataset}"
        self._dataset = dataset
        self._tracker = Tracker(root)
        self._lock = root / "runs" / "registry.lock"

    def register(self, folder: Path, facts: Mapping[str, str] | None = None) -> Version:
        """Keeps a verified cascade folder (data/) with its evaluation; one that is known keeps its version.

        Args:
            facts: tags of a new version; of a known one, they are added.

        Raises:
            UserError: a file is missing or changed, a weight is not finite, or parts do not fit each other.
        """
        files = verified_files(folder)
        content = content_sha256(files)
        with self._locked():
            known = self._find_content(content)
            version = self._create(folder, files, content) if known is None else known
            return self._tag(version.number, facts or {})

    def versions(self) -> list[Version]:
        """Returns all versions, oldest first."""
        found = self._tracker.client.search_model_versions(f"name = '{self.name}'", max_results=1000)
        return sorted((_version_of(one) for one in found), key=lambda version: version.number)

    def find(self, which: str) -> Version | None:
        """Returns the version of an alias or a number, None where there is none."""
        from mlflow.exceptions import MlflowException

        client = self._tracker.client
        try:
            if which.isdigit():
                return _version_of(client.get_model_version(self.name, which))
            return _version_of(client.get_model_version_by_alias(self.name, which))
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def promote(self, number: int) -> Version:
        """Makes a version the champion and the one before it previous; changes nothing if it is the champion.

        Raises:
            UserError: there is no such version.
        """
        with self._locked():
            version, champion = self._known(str(number)), self.find(CHAMPION)
            self._tag(number, {_WITHDRAWN: "false"})
            if champion is None or champion.number != number:
                self._tag(number, {_REPLACES: str(champion.number) if champion else ""})
                self._tracker.client.set_registered_model_alias(self.name, CHAMPION, str(number))
            self._settle()
            return self._known(str(version.number))

    def challenge(self, number: int) -> None:
        """Names a version the challenger: the newest that the gate has turned down."""
        with self._locked():
            self._alias(CHALLENGER, self._known(str(number)).number)

    def rollback(self) -> Version:
        """Makes the champion before this one champion again, and withdraws this one.

        Raises:
            UserError: there is no champion, or none before it.
        """
        with self._locked():
            champion = self._known(CHAMPION)
            before = champion.tags.get(_REPLACES)
            if not before:
                raise UserError(
                    f"{self.name}: version {champion.number} is the first champion: nothing to roll back to"
                )
            self._tag(champion.number, {_WITHDRAWN: "true"})
            self._tracker.client.set_registered_model_alias(self.name, CHAMPION, before)
            self._settle()
            return self._known(before)

    def tag(self, number: int, tags: Mapping[str, str]) -> Version:
        """Sets tags of a version, the latest value counts."""
        with self._locked():
            return self._tag(number, tags)

    def load(self, which: str, folder: Path) -> Version:
        """Puts a version's files into a folder that ``pipeline.Cascade.load`` opens; an older folder is replaced.

        Raises:
            UserError: there is no such version, or its files are not those that were registered.
        """
        version = self._known(which)
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f"{folder.name}.tmp-", dir=folder.parent))
        try:
            place = _place(version.cascade_sha256)
            found = Path(self._tracker.client.download_artifacts(version.run_id, place, str(scratch)))
            self._check_content(version, found)
            replace_folder(found, folder)
        finally:
            shutil.rmtree(scratch)
        return version

    def locate(self, which: str) -> Path:
        """Returns the folder that holds a version's files, for reading only: a copy of them if they are elsewhere.

        Raises:
            UserError: there is no such version, or its files are not those that were registered.
        """
        version = self._known(which)
        found = Path(self._tracker.client.download_artifacts(version.run_id, _place(version.cascade_sha256)))
        self._check_content(version, found)
        return found

    def _check_content(self, version: Version, folder: Path) -> None:
        content = content_sha256(verified_files(folder))
        if content != version.cascade_sha256:
            raise UserError(
                f"{self.name} version {version.number}: its files have content {content[:12]}, registered was "
                f"{version.cascade_sha256[:12]}"
            )

    def _locked(self) -> AbstractContextManager[None]:
        return exclusive(self._lock, _LOCK_WAIT_S)

    def _known(self, which: str) -> Version:
        version = self.find(which)
        if version is None:
            known = ", ".join(str(one.number) for one in self.versions())
            raise UserError(f"{self.name}: there is no {which}; versions: {known or 'none'}")
        return version

    def _find_content(self, content: str) -> Version | None:
        return next((one for one in self.versions() if one.cascade_sha256 == content), None)

    def _create(self, folder: Path, files: Mapping[str, str], content: str) -> Version:
        """Uploads first and names last: what a crash leaves half done the next registration finds and completes."""
        from mlflow.exceptions import MlflowException

        client, place = self._tracker.client, _place(content)
        run_id = self._run_of(content)
        for name in [*files, *(name for name in EVALUATION if (folder / name).is_file())]:
            client.log_artifact(
                run_id, str(folder / name), f"{place}/{Path(name).parent.as_posix()}".removesuffix("/.")
            )
        with tempfile.TemporaryDirectory() as scratch:
            for path in write_model_files(Path(scratch)):
                client.log_artifact(run_id, str(path), place)
        try:
            client.create_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"{client.get_run(run_id).info.artifact_uri}/{place}"
        return _version_of(client.create_model_version(self.name, source, run_id, tags={_HASH: content}))

    def _run_of(self, content: str) -> str:
        client, experiment = self._tracker.client, self._tracker.experiment(self._dataset)
        found = client.search_runs([experiment], f"tags.`{_HASH}` = '{content}'", max_results=1)
        if found:
            return found[0].info.run_id
        title = f"registered {content[:6]}"
        run = client.create_run(experiment, tags={_HASH: content, "mlflow.source.type": "LOCAL"}, run_name=title)
        client.set_terminated(run.info.run_id, end_time=round(time.time() * 1000))
        return run.info.run_id

    def _tag(self, number: int, tags: Mapping[str, str]) -> Version:
        present = self._known(str(number))
        for key, value in tags.items():
            if present.tags.get(key) != value:
                self._tracker.client.set_model_version_tag(self.name, str(number), key, value)
        return self._known(str(number))

    def _settle(self) -> None:
        """Brings the other aliases into line with the champion."""
        champion = self._known(CHAMPION)
        before = champion.tags.get(_REPLACES)
        self._alias(PREVIOUS, int(before) if before else None)
        challenger = self.find(CHALLENGER)
        if challenger is not None and challenger.number == champion.number:
            self._alias(CHALLENGER, None)

    def _alias(self, alias: str, number: int | None) -> None:
        holder = self.find(alias)
        if number is None and holder is not None:
            self._tracker.client.delete_registered_model_alias(self.name, alias)
        elif number is not None and (holder is None or holder.number != number):
            self._tracker.client.set_registered_model_alias(self.name, alias, str(number))


def _place(content: str) -> str:
    return f"{_FOLDER}-{content[:_NUM_NAME_DIGITS]}"


def _version_of(found: "ModelVersion") -> Version:
    tags = {str(key): str(value) for key, value in found.tags.items()}
    return Version(int(found.version), tags.get(_HASH, ""), found.run_id or "", tags)
