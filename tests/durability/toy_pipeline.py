"""The project's own pipeline, so small that a stage takes a second, and DVC to run it: warm, or as a user starts it.

Imports no pytest.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.contents import contents
from tests.flows.growing_project import CHECKOUT, add_pictures, make_project

NUM_STEPS = 16
OUTS = {
    "ingest@folder": ("data/raw/folder",),
    "curate": ("data/curated",),
    "text-encoder": ("data/text_encoder",),
    "embed": ("data/embeddings",),
    "train@base": ("data/models/base", "data/checkpoints/base"),
    "train@super": ("data/models/super", "data/checkpoints/super"),
    "evaluate": ("data/cascade.json", "data/eval"),
}
"""The stages in an order in which each finds its inputs, with what they write."""
COLD = {"OMP_NUM_THREADS": "1", "MINIMAGEN_THREADS": "1", "MINIMAGEN_TRACKING": "off", "MINIMAGEN_PROCESSES": "2"}
WARM = COLD | {"MINIMAGEN_PROCESSES": "1"}


def write_toy(root: Path) -> Path:
    """Writes the project with the pictures and parameters of all trials."""
    make_project(root, num_steps=NUM_STEPS)
    add_pictures(root / "my_pictures", range(48))
    params = (root / "params.yaml").read_text()
    for old, new in (("save_every: 10000", "save_every: 4"), ("shard_rows: 1000", "shard_rows: 12")):
        assert old in params
        params = params.replace(old, new)
    params = params.replace("batch_size: 32", "batch_size: 8")
    (root / "params.yaml").write_text(params)
    return root


def outs_of(root: Path, stage: str) -> dict[str, str]:
    """Returns what each file that a stage wrote holds."""
    tops = [root / out for out in OUTS[stage]]
    return contents((path for top in tops for path in ([top] if top.is_file() else top.rglob("*"))), root)


@dataclass(frozen=True, slots=True)
class Started:
    """A running `dvc`, and how to wait for it."""

    process: psutil.Process
    wait: "WarmDvc | subprocess.Popen[bytes]"

    def ended(self) -> int:
        """Waits for its end and returns its exit code, negative for a signal."""
        return self.wait.wait()


class WarmDvc:
    """`dvc` as forks of one process; one at a time."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        assert self._hear() == "ready"

    def start(self, root: Path, *arguments: str, num_stages: int = 1, **environment: str) -> Started:
        """Starts `dvc` in a project."""
        request = {"root": str(root), "arguments": arguments, "num_stages": num_stages}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request | {"environment": WARM | environment}) + "\n")
        self._process.stdin.flush()
        return Started(psutil.Process(int(self._hear().removeprefix("pid "))), self)

    def wait(self) -> int:
        """Waits for the end of what was started and returns its exit code."""
        return int(self._hear().removeprefix("ended "))

    def _hear(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "warm_dvc has died"
        return line.strip()


@contextmanager
def warm_dvc() -> Iterator[WarmDvc]:
    """Imports all once."""
    command = [sys.executable, "-m", "tests.durability.warm_dvc"]
    with subprocess.Popen(
        command, cwd=CHECKOUT, env=os.environ | WARM, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield WarmDvc(process)
        assert process.stdin is not None
        process.stdin.close()


def start_cold(root: Path, *arguments: str, shell_path: str = "/bin/sh", **environment: str) -> Started:
    """Starts `dvc` as a user does, in a session of its own."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    surroundings = os.environ | COLD | {"PATH": path, "SHELL": shell_path, "PYTHONPATH": str(CHECKOUT)} | environment
    with (root / "cold.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=root,
            env=surroundings,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return Started(psutil.Process(process.pid), process)


@dataclass(frozen=True, slots=True)
class Clean:
    """An undisturbed run: the project before each stage, what each wrote, and how long it took."""

    befores: dict[str, Path]
    outs: dict[str, dict[str, str]]
    stage_s: dict[str, float]
    """From the moment that DVC starts the command."""
    root: Path

    def copy(self, stage: str, target: Path) -> Path:
        """Returns a copy of the project as it was before a stage."""
        return shutil.copytree(self.befores[stage], target, symlinks=True)


def has_begun(root: Path) -> bool:
    """Whether DVC has said that it starts a stage's command."""
    return any("Running stage" in path.read_text(errors="replace") for path in root.glob("*.log"))


def wait_for_command(root: Path, running: Started) -> None:
    """Waits until DVC starts the stage's command, or ends."""
    with suppress(psutil.NoSuchProcess):
        while not has_begun(root) and running.process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)


def run_clean(warm: WarmDvc, folder: Path) -> Clean:
    """Runs the pipeline stage by stage."""
    root = write_toy(folder / "clean")
    befores: dict[str, Path] = {}
    outs: dict[str, dict[str, str]] = {}
    stage_s: dict[str, float] = {}
    for number, stage in enumerate(OUTS):
        befores[stage] = shutil.copytree(root, folder / f"before-{number}", symlinks=True)
        (root / "warm.log").unlink(missing_ok=True)
        running = warm.start(root, "repro", "--single-item", stage)
        wait_for_command(root, running)
        started = time.monotonic()
        code = running.ended()
        stage_s[stage] = time.monotonic() - started
        assert code == 0, (root / "warm.log").read_text()
        outs[stage] = outs_of(root, stage)
        assert outs[stage]
    return Clean(befores, outs, stage_s, root)
