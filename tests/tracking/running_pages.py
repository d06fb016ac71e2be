"""MLflow's pages of a project with one shipped run, in a process of their own. Imports no pytest."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from minimagen.config import load_params
from minimagen.tracking.doorkeeper import open_token
from minimagen.tracking.ship import ship_pending
from tests.flows.orchestra import free_port, write_entry_points
from tests.probes import Door
from tests.tracking.conftest import Stages

CHECKOUT = Path(__file__).parents[2]
PROGRAM = """
import sys
from pathlib import Path
from minimagen.tracking.server import serve
def show(pages):
    for page in pages: print(page.title, page.url, sep="|", file=sys.stderr)
    print("ready", flush=True)
serve(Path(sys.argv[1]), port=int(sys.argv[2]), on_ready=show)
"""


@dataclass(frozen=True, slots=True)
class RunningPages:
    """A server that has said that it is ready, and where its words are."""

    process: "subprocess.Popen[bytes]"
    door: Door
    root: Path
    run_id: str

    @property
    def said(self) -> str:
        """What it has printed, MLflow's own words too."""
        return (self.root / "log").read_text()


def write_shipped_run(root: Path) -> None:
    """Ships one training to the database of a project; MINIMAGEN_TRACKING has to be on."""
    stages = Stages(root, load_params(CHECKOUT / "experiments" / "demo.yaml"))
    with stages.train() as stage:
        stage.finish({"val.loss": 0.25})
    ship_pending(root)


@contextmanager
def running_pages(root: Path) -> Iterator[RunningPages]:
    """Serves a project's pages and ends them."""
    write_entry_points(root / "installed")
    paths = os.pathsep.join([str(root / "installed"), str(CHECKOUT)])
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    port = free_port()
    with (root / "log").open("wb") as log:
        command = [sys.executable, "-c", PROGRAM, str(root), str(port)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, cwd=CHECKOUT, env=environment | {"PYTHONPATH": paths}
        )
    assert process.stdout is not None
    is_ready = any(line == b"ready\n" for line in process.stdout)
    try:
        assert is_ready, (root / "log").read_text()
        door = Door(port, {"Authorization": f"Bearer {open_token(root)}"})
        yield RunningPages(process, door, root, _run_id(door))
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _run_id(door: Door) -> str:
    def ask(way: str, question: object) -> dict[str, list[dict[str, dict[str, str] | str]]]:
        url, body = f"http://{door.host}/api/2.0/mlflow/{way}/search", json.dumps(question).encode()
        headers = {**door.key, "Content-Type": "application/json"}
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(url, body, headers), timeout=60) as answer:
            return json.loads(answer.read())

    experiments = [one["experiment_id"] for one in ask("experiments", {"max_results": 10})["experiments"]]
    run = ask("runs", {"experiment_ids": experiments, "max_results": 1})["runs"][0]["info"]
    assert isinstance(run, dict)
    return run["run_id"]
