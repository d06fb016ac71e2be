"""Writes into one MLflow run what it does not hold yet, so that sending something twice leaves one of it.

Knows neither journals nor which run it is.
"""

import logging
import re
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

logger = logging.getLogger(__name__)

# MLflow's limits for one request.
_MAX_METRICS = 1000
_MAX_PARAMS_OR_TAGS = 100
_MAX_PARAM_CHARS = 6000
_MAX_TAG_CHARS = 8000
_THUMBNAIL_PX = 256
_SUMMARY_DIGITS = 5


class RunWriter:
    """One run as the server has it now. Points are collected until ``flush``; everything else is sent at once."""

    def __init__(self, client: "MlflowClient", run_id: str) -> None:
        """Asks the server what the run holds."""
        run = client.get_run(run_id)
        self.run_id = run_id
        self.num_points = 0
        self._client = client
        self._params = dict(run.data.params)
        self._tags = dict(run.data.tags)
        # The latest point of each curve, with its step, is public only in the message that travels.
        latest = run.data.to_proto().metrics
        self._last_steps: dict[str, int] = {metric.key: metric.step for metric in latest}
        self._last_times_ms: dict[str, int] = {metric.key: metric.timestamp for metric in latest}
        self._waiting: list[Metric] = []

    @property
    def is_full(self) -> bool:
        """Whether the points collected would fill a request."""
        return len(self._waiting) >= _MAX_METRICS

    def point(self, key: str, value: float, step: int, time_s: float) -> None:
        """Adds a point to a curve unless the run has it: a curve's steps only rise."""
        key = _allowed(key)
        if step > self._last_steps.get(key, -1):
            self._collect(key, value, step, time_s)

    def summary(self, key: str, value: float, time_s: float) -> None:
        """Sets a number, as a table shows it, that a later run may replace, unless the run has it or a newer one."""
        key = _allowed(key)
        if round(time_s * 1000) > self._last_times_ms.get(key, -1):
            self._collect(key, float(f"{value:.{_SUMMARY_DIGITS}g}"), 0, time_s)

    def flush(self) -> None:
        """Sends the points collected."""
        for start in range(0, len(self._waiting), _MAX_METRICS):
            self._client.log_batch(self.run_id, metrics=self._waiting[start : start + _MAX_METRICS])
        self.num_points += len(self._waiting)
        self._waiting = []

    def params(self, params: Mapping[str, object]) -> None:
        """Sets parameters; one that is there with another value keeps it, as MLflow wants, and the log says so."""
        from mlflow.entities import Param

        missing: list[Param] = []
        for key, value in params.items():
            key, text = _allowed(key), str(value)[:_MAX_PARAM_CHARS]
            if key not in self._params:
                missing.append(Param(key, text))
                self._params[key] = text
            elif self._params[key] != text:
                logger.warning("run %s keeps %s = %s, it is now %s", self.run_id, key, self._params[key], text)
        for start in range(0, len(missing), _MAX_PARAMS_OR_TAGS):
            self._client.log_batch(self.run_id, params=missing[start : start + _MAX_PARAMS_OR_TAGS])

    def tags(self, tags: Mapping[str, object]) -> None:
        """Sets tags, the latest value counts."""
        from mlflow.entities import RunTag

        texts = {_allowed(key): str(value)[:_MAX_TAG_CHARS] for key, value in tags.items()}
        changed = [RunTag(key, text) for key, text in texts.items() if self._tags.get(key) != text]
        for start in range(0, len(changed), _MAX_PARAMS_OR_TAGS):
            self._client.log_batch(self.run_id, tags=changed[start : start + _MAX_PARAMS_OR_TAGS])
        self._tags |= texts

    def file(self, path: Path, folder: str) -> None:
        """Keeps a file with the run, below ``folder`` ("" is the top)."""
        self._client.log_artifact(self.run_id, str(path), folder or None)

    def image(self, path: Path, key: str, caption: str, step: int, time_s: float) -> None:
        """Keeps a picture as MLflow's image series do, under a name that is the same each time, and its caption."""
        series = re.sub(r"[^\w\-. ]", "~", key)
        token = uuid.uuid5(uuid.NAMESPACE_URL, f"{self.run_id}/{series}/{step}")
        stem = f"{series}+step+{step}+timestamp+{round(time_s * 1000)}+{token}"
        with TemporaryDirectory() as scratch:
            full, thumbnail = Path(scratch) / f"{stem}.png", Path(scratch) / f"{stem}+compressed.webp"
            text = Path(scratch) / f"{series}-step-{step:07d}.txt"
            shutil.copyfile(path, full)
            with Image.open(path) as picture:
                picture.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
                picture.save(thumbnail, lossless=True)
            text.write_text(caption + "\n")
            self.file(full, "images")
            self.file(thumbnail, "images")
            self.file(text, "captions")
        self.tags({"mlflow.loggedImages": True})

    def show_status(self, status: str, time_s: float) -> None:
        """Marks the run as RUNNING, or as FINISHED, FAILED or KILLED at a time."""
        if status == "RUNNING":
            self._client.update_run(self.run_id, status)
        else:
            self._client.set_terminated(self.run_id, status, round(time_s * 1000))

    def _collect(self, key: str, value: float, step: int, time_s: float) -> None:
        from mlflow.entities import Metric

        self._waiting.append(Metric(key, value, round(time_s * 1000), step))
        self._last_steps[key] = step
        self._last_times_ms[key] = round(time_s * 1000)


def _allowed(key: str) -> str:
    return re.sub(r"[^\w\-. :/]", "_", key)[:250]
