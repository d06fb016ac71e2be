"""The data flows with one worker and with two: pictures and captions a second, whoever makes the shards.

    python -m benchmarks.data_flows

Twenty shards of pictures of a loopback server, and twenty of captions through a T5 encoder of random weights, each run
by the command itself in a project of its own: the stage, and the flow with threads and with Dask. A Prefect server of
this benchmark's own runs beside them. Each worker has one of torch's threads. Timed is what the stage says of itself,
from the plan to the manifest: workers that have to be started are in it, imports and Prefect's own start are not.
"""

import argparse
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from benchmarks.course import demo_params
from benchmarks.ingest import HOSTS, picture_server, write_table
from benchmarks.random_t5 import write_random_t5
from benchmarks.rounds import Timing, in_turn, ratio_of, speed_of
from benchmarks.scenes_data import scene_captions
from benchmarks.tables import Cell, Report, describe_machine, show
from minimagen.experiments import load_experiment
from minimagen.files import write_json
from minimagen.text.locate import hash_folder, write_record
from tests.text.builders import make_curated

CHECKOUT = Path(__file__).parents[1]
NUM_SHARDS = 20
ENCODER = "t5-small"
RUNNERS = ("stage", "threads", "dask")
_PREFECT = [sys.executable, "-m", "prefect"]
_READY_S = 120.0
NOTES = (
    "median and range over the rounds, in turn; from the plan to the manifest, workers' start included",
    "2 workers: how many times faster than 1 of the same kind, round by round",
)


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of shards."""

    unit: str
    stage: Sequence[str]
    """Command of the stage, without the program."""
    flow: str
    """Module of the flow."""
    project: Path
    """With all inputs, and no outs."""
    timings: str
    """Where the stage says how long it took."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to make all shards of a kind; ``runner`` is ``stage`` or what a flow is told."""

    work: Work
    runner: str
    num_workers: int
    environment: Mapping[str, str]

    def run(self, num_steps: int) -> Timing:
        """Makes them from nothing, so many times."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall_s = sum(self._once() for _ in range(num_steps))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return Timing(wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    def _once(self) -> float:
        project = self.work.project
        for name in ("data/raw", "data/embeddings", "runs"):
            shutil.rmtree(project / name, ignore_errors=True)
        is_stage = self.runner == "stage"
        command = [sys.executable, "-m", *(["minimagen.cli", *self.work.stage] if is_stage else [self.work.flow])]
        machine = {"MINIMAGEN_PROCESSES": str(self.num_workers), "MINIMAGEN_TASK_RUNNER": self.runner}
        result = subprocess.run(
            command, cwd=project, env={**self.environment, **machine}, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return json.loads((project / self.work.timings).read_bytes())["total_s"]


@contextmanager
def prefect_server(folder: Path) -> Iterator[str]:
    """Runs a server of Prefect's with an empty database; yields the address of its API."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    around = os.environ | {"PREFECT_HOME": str(folder), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    command = [*_PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}/api"
    with subprocess.Popen(command, env=around, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + _READY_S
            while not _answers(f"{url}/health"):
                assert process.poll() is None and time.monotonic() < deadline, "Prefect's server did not start"
                time.sleep(0.2)
            yield url
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=1):
            return True
    except OSError:
        return False


def download(project: Path, url: str, num_pictures: int) -> Work:
    """Writes a project whose source is a table of a loopback server's pictures."""
    project.mkdir()
    (project / "pictures").mkdir()
    write_table(project / "pictures/pictures.parquet", url, num_pictures)
    (project / "pictures/hosts.yaml").write_text(HOSTS, encoding="utf-8")
    document = YAML(typ="safe", pure=True).load(load_experiment(CHECKOUT, "own-urls").text)
    document["sources"]["manifest"] = "pictures"
    document["ingest"]["manifest"]["shard_rows"] = num_pictures // NUM_SHARDS
    document["ingest"]["manifest"]["images"] |= {"store_size": 64, "min_side": 16, "encoding": "jpeg"}
    write_json(project / "params.yaml", document)
    timings = "runs/ingest/manifest/timings.json"
    return Work("pictures", ["ingest", "manifest"], "flows.download_manifest", project, timings)


def embed(project: Path, encoder: str, num_captions: int) -> Work:
    """Writes a project whose captions are curated, all of them different."""
    project.mkdir()
    scenes = scene_captions(demo_params(), num_captions // NUM_SHARDS)
    captions = {
        f"demo-1-{shard:05d}": [f"{caption} {shard}" for caption in scenes[: num_captions // NUM_SHARDS]]
        for shard in range(NUM_SHARDS)
    }
    make_curated(project / "data/curated", captions)
    folder = project / "data/text_encoder"
    folder.mkdir(parents=True)
    write_random_t5(folder, encoder)
    write_record(folder, hash_folder(folder, encoder, None, "stored"))
    document = YAML(typ="safe", pure=True).load(load_experiment(CHECKOUT, "demo").text)
    write_json(project / "params.yaml", document)
    return Work("captions", ["embed"], "flows.precompute_embeddings", project, "runs/embed/timings.json")


def measure(work: Work, num_items: int, environment: Mapping[str, str], num_rounds: int) -> list[dict[str, Cell]]:
    """Measures every way with one and with two workers; the stage embed has one worker only."""
    ways = [(runner, number) for runner in RUNNERS for number in (1, 2)]
    if work.unit == "captions":
        ways.remove(("stage", 2))
    contestants = {f"{runner}, {number}": Contestant(work, runner, number, environment) for runner, number in ways}
    timings = in_turn(contestants, num_rounds=num_rounds, num_steps=1)
    return [
        {
            "shards of": work.unit,
            "made by": runner,
            "workers": number,
            "a second": str(speed_of(timings[f"{runner}, {number}"], num_items)),
            "2 workers": str(ratio_of(timings[f"{runner}, 2"], timings[f"{runner}, 1"])) if number == 2 else None,
        }
        for runner, number in ways
    ]


def compare(num_pictures: int, num_captions: int, encoder: str, num_rounds: int) -> Report:
    """Measures both kinds of shards."""
    machine = describe_machine()
    with (
        tempfile.TemporaryDirectory() as name,
        prefect_server(Path(name) / "prefect") as api,
        picture_server() as (url, sizes),
    ):
        environment = os.environ | {
            "PREFECT_API_URL": api,
            "PREFECT_HOME": str(Path(name) / "client"),
            "PREFECT_LOGGING_LEVEL": "WARNING",
            "MINIMAGEN_ALLOWED_ADDRESSES": url.removeprefix("http://"),
            "MINIMAGEN_TRACKING": "off",
            "MINIMAGEN_DEVICE": "cpu",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(CHECKOUT),
        }
        rows = measure(download(Path(name) / "download", url, num_pictures), num_pictures, environment, num_rounds)
        rows += measure(embed(Path(name) / "embed", encoder, num_captions), num_captions, environment, num_rounds)
    title = f"{NUM_SHARDS} shards: {num_pictures} JPEGs of {sizes}; {num_captions} captions by {encoder}"
    return Report(title, rows, NOTES, machine)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the comparison that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--captions", type=int, default=4_000)
    parser.add_argument("--encoder", default=ENCODER, help="a size of benchmarks.random_t5")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the table there as well")
    options = parser.parse_args(arguments)
    show(compare(options.pictures, options.captions, options.encoder, options.rounds), options.json)


if __name__ == "__main__":
    main()
