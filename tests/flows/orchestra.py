"""`make orchestrate` for tests: in a project of its own, asked through its API as any client would.

The pipeline has one real training, of the tiny project, between two stages of the shell. Imports no pytest.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path

import psutil
from prefect.events.schemas.automations import EventTrigger

from flows.furnish import automations
from flows.local_server import LocalServer, open_server
from tests.stages.tiny_project import CHECKOUT, write_tiny_data

PREFECT = Path(sys.executable).with_name("prefect")
FINAL = frozenset({"Completed", "Failed", "Crashed", "Cancelled"})
_PATIENCE_S = 180.0


def write_training_project(root: Path, **training: object) -> None:
    """Writes a project whose flow trains: prefect.yaml and flows are the checkout's, the pipeline is its own."""
    trainer = [sys.executable, "-m", "tests.stages.trainer", ".", f"'{json.dumps(training)}'"]
    stages = {
        "draw": {"cmd": "cp brush picture", "deps": ["brush"], "outs": ["picture"]},
        "train": {
            "foreach": ["base"],
            "do": {
                "cmd": " ".join(trainer),
                "meta": {"accelerator": True},
                "deps": ["data/curated", "data/embeddings", "picture"],
                "outs": ["data/models/${item}", "data/checkpoints/${item}"],
            },
        },
        "judge": {
            "cmd": "echo '{\"verdict\": 1}' > metrics.json",
            "deps": ["data/models"],
            "metrics": [{"metrics.json": {"cache": False}}],
        },
    }
    write_tiny_data(root)
    (root / "dvc.yaml").write_text(json.dumps({"stages": stages}))
    (root / "brush").write_text("red\n")
    for name in ("prefect.yaml", "pyproject.toml", "flows"):
        (root / name).symlink_to(CHECKOUT / name)
    make_dvc_project(root)


def make_dvc_project(root: Path) -> None:
    """Does what `dvc init --no-scm` takes a second for."""
    (root / ".dvc").mkdir()
    (root / ".dvc/config").write_text("[core]\n    no_scm = True\n    analytics = False\n")


def write_entry_points(folder: Path) -> None:
    """Writes what installing the checkout would tell of its entry points, however long ago it was installed."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    place = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = [(group, points) for group, points in project["entry-points"].items()]
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items()) for group, points in groups
    ]
    (place / "entry_points.txt").write_text("\n".join(lines))


def free_port() -> int:
    """Returns a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass(frozen=True, slots=True)
class Orchestra:
    """A running `make orchestrate`."""

    root: Path
    process: psutil.Popen
    server: LocalServer

    def trigger(self, name: str = "train-cascade", /, **parameters: object) -> str:
        """Asks for a run of a deployment and returns its id."""
        question = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return json.loads(self._ask(f"/deployments/{self._deployment(name)}/create_flow_run", question))["id"]

    def schedule(self, name: str, start: datetime, **parameters: object) -> None:
        """Lets a deployment run at a time, and every day from then on."""
        each = {"interval": 86_400, "anchor_date": start.isoformat()}
        question = [{"schedule": each, "active": True, "parameters": parameters}]
        self._ask(f"/deployments/{self._deployment(name)}/schedules", question)
        # What the server does by itself, but only once a minute.
        soon = {"start_time": (start - timedelta(minutes=1)).isoformat(), "max_runs": 1}
        self._ask(f"/deployments/{self._deployment(name)}/schedule", soon)

    def runs(self, name: str) -> list[str]:
        """Returns the runs of a deployment that were due, oldest first."""
        question = {
            "flow_runs": {"deployment_id": {"any_": [self._deployment(name)]}},
            "sort": "EXPECTED_START_TIME_ASC",
        }
        now = datetime.now(UTC).isoformat()
        found = json.loads(self._ask("/flow_runs/filter", question))
        return [each["id"] for each in found if each["expected_start_time"] < now]

    def holds_its_slot(self, run: str) -> bool:
        """Returns whether the server still knows the lease by which a run keeps others of its deployment away."""
        lease = json.loads(self._ask(f"/flow_runs/{run}"))["state"]["state_details"]["deployment_concurrency_lease_id"]
        try:
            self._ask(f"/v2/concurrency_limits/leases/{lease}/renew", {"lease_duration": 300})
        except urllib.error.HTTPError:
            return False
        return True

    def watch_closely(self, silence: timedelta) -> None:
        """Lets runs that are silent for so long count as dead as well; one heart beats every thirty seconds."""
        for automation in automations():
            trigger = automation.trigger
            assert isinstance(trigger, EventTrigger)
            trigger.within = silence
            question = automation.model_dump(mode="json", exclude_unset=True)
            self._ask("/automations/", question | {"name": f"{automation.name}, soon"})

    def cancel(self, run: str) -> None:
        """Does what `prefect flow-run cancel` does."""
        self._ask(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})

    def state(self, run: str) -> str:
        """Returns the name of a run's state."""
        return json.loads(self._ask(f"/flow_runs/{run}"))["state"]["name"]

    def tasks(self, run: str) -> dict[str, str]:
        """Returns the state of each task of a run by its name."""
        question = {"flow_runs": {"id": {"any_": [run]}}, "sort": "EXPECTED_START_TIME_ASC"}
        found = json.loads(self._ask("/task_runs/filter", question))
        return {each["name"]: each["state"]["name"] for each in found}

    def log(self, run: str) -> str:
        """Returns what a run has said and the server has by now."""
        lines: list[str] = []
        while True:
            question = {"logs": {"flow_run_id": {"any_": [run]}}, "offset": len(lines)}
            page = [each["message"] for each in json.loads(self._ask("/logs/filter", question))]
            lines += page
            if not page:
                return "\n".join(lines)

    def log_with(self, run: str, text: str) -> str:
        """Returns what a run has said as soon as a text is in it: a log arrives some time after what it tells."""
        return until(lambda: text in (log := self.log(run)) and log, f"{text!r} in the log of run {run}")

    def artifacts(self, run: str) -> list[dict[str, str]]:
        """Returns the artifacts of a run, oldest first."""
        question = {"artifacts": {"flow_run_id": {"any_": [run]}}}
        return json.loads(self._ask("/artifacts/filter", question))

    def wait_for(self, run: str, names: frozenset[str] = FINAL) -> str:
        """Returns the first of these states that a run comes to."""
        return until(lambda: (name := self.state(run)) in names and name, f"run {run} in {sorted(names)}")

    def descendants(self) -> list[psutil.Process]:
        """Returns all that it has started, directly or not."""
        return self.process.children(recursive=True)

    def trainers(self) -> list[psutil.Process]:
        """Returns the processes that train."""
        return [each for each in self.descendants() if is_python(each, "tests.stages.trainer")]

    def _deployment(self, name: str) -> str:
        return json.loads(self._ask(f"/deployments/name/{name}/{name}"))["id"]

    def _ask(self, path: str, question: object = None) -> bytes:
        """Asks as Prefect's clients do: again where the server is too busy, or is just being started again."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return self.server.ask(path, question)
            except OSError as error:
                is_refusal = isinstance(error, urllib.error.HTTPError) and error.code != HTTPStatus.SERVICE_UNAVAILABLE
                if is_refusal or time.monotonic() > deadline:
                    raise
            time.sleep(0.2)

    def family_of_runs(self) -> list[psutil.Process]:
        """Returns the processes of the runs of flows, and all that these have started."""
        runs = [each for each in self.descendants() if is_python(each, "prefect.engine")]
        return [*runs, *(child for run in runs for child in run.children(recursive=True))]

    def has_begun_to_train(self) -> bool:
        """Returns whether the journal of the training tells of a step."""
        return any('"metric"' in path.read_text() for path in self.root.glob("runs/train/base-*/journal.jsonl"))

    def listening(self) -> list[tuple[str, int]]:
        """Returns where its processes listen."""
        return [
            (str(at.laddr[0]), int(at.laddr[1]))
            for each in self.descendants()
            for at in each.net_connections()
            if at.status == psutil.CONN_LISTEN
        ]

    def stop(self) -> list[psutil.Process]:
        """Stops it by one signal and returns what is left."""
        family = self.descendants()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        return psutil.wait_procs(family, timeout=1)[1]

    def service(self, name: str) -> psutil.Process:
        """Returns the process of the server or the worker."""
        (found,) = [each for each in self.process.children() if f"{name} start" in " ".join(each.cmdline())]
        return found


@contextmanager
def orchestra(root: Path) -> Iterator[Orchestra]:
    """Starts `python -m flows.orchestrate` in a project, and ends it and all it started."""
    port = free_port()
    log = root / "orchestrate.log"
    with log.open("wb") as stream:
        process = psutil.Popen(
            [sys.executable, "-m", "flows.orchestrate", "--port", str(port)],
            cwd=root,
            env=environment(root),
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: (root / "runs/prefect/env").exists() or process.poll() is not None, "orchestrate")
        assert process.poll() is None, log.read_text()
        yield Orchestra(root, process, open_server(root, port))
    finally:
        family = process.children(recursive=True) if process.poll() is None else []
        with suppress(psutil.NoSuchProcess):
            process.terminate()
        psutil.wait_procs([process], timeout=60)
        for left in (process, *family):
            with suppress(psutil.NoSuchProcess):
                left.kill()


def environment(root: Path) -> dict[str, str]:
    """Returns the environment of a user's terminal: the checkout's packages, commands and its plugin."""
    if not (root / "installed").exists():
        write_entry_points(root / "installed")
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(PREFECT.parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(root / "installed"), str(CHECKOUT)]),
    }


def is_python(process: psutil.Process, module: str) -> bool:
    """Returns whether a process is this Python running a module, not a shell or DVC that starts it."""
    try:
        command: Sequence[str] = process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False
    return command[1:3] == ["-m", module]


def until(condition, what: str, timeout_s: float = _PATIENCE_S):
    """Waits until something is true and returns it."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.1)
    return value
