"""Downloading beside img2dataset: small JPEGs from a loopback server, in turn, in one run.

    python -m benchmarks.setup_img2dataset
    python -m benchmarks.ingest

Both are run by their own commands, from start to exit, with two processes that keep 32 requests each in flight, on the
same table of addresses and captions, in shards of the size that each has by default. Both decode each picture, check
its size, encode it anew as a JPEG of quality 95 (this project without chroma subsampling, img2dataset with it), take
the SHA-256 of what came and write Parquet. This project cleans captions, hashes pictures by likeness, looks for
duplicates and is safe from being killed besides. Its limits of politeness are lifted by a service file; img2dataset
has none.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from benchmarks.rounds import Timing, in_turn, ratio_of, speed_of
from benchmarks.setup_img2dataset import img2dataset_command
from benchmarks.tables import Cell, Report, describe_machine, show
from minimagen.experiments import load_experiment

CHECKOUT = Path(__file__).parents[1]
OURS, THEIRS = "this project", "img2dataset 1.47.0"
NUM_PROCESSES = 2
IN_FLIGHT = 64
SHARD_ROWS = 1000
THEIR_SHARD_ROWS = 10_000
HOSTS = "images: {requests_per_s: 1000000, per_host: 64, in_flight: 64, robots: false}\n"
NOTES = (
    "pictures/s, median and range over the rounds, start-up included; the server runs on the same cores",
    "steady state: the pictures and the seconds that the larger number has more than the smaller one",
    "ratio: how many times faster this project is, round by round; /cpu-s counts processor seconds of the client alone",
)


@dataclass(frozen=True, slots=True)
class Ours:
    """`minimagen ingest manifest` in a project of its own."""

    folder: Path
    url: str

    def run(self, num_steps: int) -> Timing:
        """Downloads so many pictures."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            root = Path(name)
            (root / "pictures").mkdir()
            write_table(root / "pictures/pictures.parquet", self.url, num_steps)
            (root / "pictures/hosts.yaml").write_text(HOSTS, encoding="utf-8")
            (root / "params.yaml").write_text(json.dumps(self._params()), encoding="utf-8")
            command = [str(Path(sys.executable).parent / "minimagen"), "ingest", "manifest"]
            variables = {"PYTHONPATH": str(CHECKOUT), "MINIMAGEN_ALLOWED_ADDRESSES": self.url.removeprefix("http://")}
            timing = timed(command, root, variables)
            counts = json.loads((root / "data/raw/manifest/manifest.json").read_bytes())["counts"]
            assert counts["stored"] == num_steps, counts
            return timing

    def _params(self) -> dict[str, object]:
        document = YAML(typ="safe", pure=True).load(load_experiment(CHECKOUT, "own-urls").text)
        document["sources"]["manifest"] = "pictures"
        document["ingest"]["manifest"]["shard_rows"] = SHARD_ROWS
        document["ingest"]["manifest"]["images"] |= {"store_size": 64, "min_side": 16, "encoding": "jpeg"}
        return document


@dataclass(frozen=True, slots=True)
class Img2dataset:
    """The command of img2dataset."""

    folder: Path
    url: str

    def run(self, num_steps: int) -> Timing:
        """Downloads so many pictures."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            root = Path(name)
            write_table(root / "pictures.parquet", self.url, num_steps)
            options = {
                "url_list": "pictures.parquet",
                "input_format": "parquet",
                "url_col": "url",
                "caption_col": "caption",
                "output_format": "parquet",
                "output_folder": "out",
                "processes_count": NUM_PROCESSES,
                "thread_count": IN_FLIGHT // NUM_PROCESSES,
                "number_sample_per_shard": THEIR_SHARD_ROWS,
                "image_size": 64,
                "min_image_size": 16,
                "resize_mode": "keep_ratio",
                "resize_only_if_bigger": True,
                "encode_quality": 95,
                "compute_hash": "sha256",
            }
            arguments = [f"--{option}={value}" for option, value in options.items()]
            timing = timed([str(img2dataset_command()), *arguments], root, {})
            reports = [json.loads(path.read_bytes()) for path in (root / "out").glob("*_stats.json")]
            assert sum(report["successes"] for report in reports) == num_steps, reports
            return timing


def write_table(path: Path, url: str, num_pictures: int) -> None:
    """Writes addresses and captions of the server's first pictures."""
    urls = [f"{url}/{number}.jpg" for number in range(num_pictures)]
    captions = [f"a small picture with the number {number}" for number in range(num_pictures)]
    pq.write_table(pa.table({"url": urls, "caption": captions}), path)


def timed(command: Sequence[str], folder: Path, variables: dict[str, str]) -> Timing:
    """Runs a command to its end and returns what it took, its own processes included.

    Raises:
        CalledProcessError: it failed.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": "", "MINIMAGEN_TRACKING": "off"} | variables
    environment |= {"MINIMAGEN_PROCESSES": str(NUM_PROCESSES), "NO_ALBUMENTATIONS_UPDATE": "1"}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wall_s, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Timing(wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


@contextmanager
def picture_server() -> Iterator[tuple[str, str]]:
    """Runs the server in a process of its own; yields its address and the sizes of its files."""
    command = [sys.executable, "-m", "benchmarks.picture_server"]
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port, smallest, largest = process.stdout.readline().split()
        yield f"http://127.0.0.1:{port}", f"{smallest} to {largest} bytes"


def compare(counts: Sequence[int], num_rounds: int) -> Report:
    """Measures both at each number of pictures."""
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as name, picture_server() as (url, sizes):
        contestants = {OURS: Ours(Path(name), url), THEIRS: Img2dataset(Path(name), url)}
        timings = {count: in_turn(contestants, num_rounds=num_rounds, num_steps=count) for count in counts}
    rows = [row for count in counts for row in _rows(f"{count:,}", count, timings[count])]
    if len(counts) > 1:
        small, large = min(counts), max(counts)
        more = {kind: _more(timings[large][kind], timings[small][kind]) for kind in timings[large]}
        rows += _rows("steady state", large - small, more)
    return Report(f"Download of JPEGs of 64 px, {sizes}, {NUM_PROCESSES} processes", rows, NOTES, machine)


def _more(large: Sequence[Timing], small: Sequence[Timing]) -> list[Timing]:
    return [Timing(a.wall_s - b.wall_s, a.cpu_s - b.cpu_s) for a, b in zip(large, small, strict=True)]


def _rows(label: str, num_pictures: int, timings: dict[str, list[Timing]]) -> list[dict[str, Cell]]:
    return [
        {
            "pictures": label,
            "contestant": kind,
            "pictures/s": str(speed_of(own, num_pictures)),
            "pictures/cpu-s": speed_of(own, num_pictures, of_cpu=True).median,
            "ratio": str(ratio_of(timings[OURS], own)),
            "ratio, cpu": ratio_of(timings[OURS], own, of_cpu=True).median,
        }
        for kind, own in timings.items()
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the comparison that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=(1000, 20_000), help="pictures of a run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the table there as well")
    options = parser.parse_args(arguments)
    show(compare(options.counts, options.rounds), options.json)


if __name__ == "__main__":
    main()
