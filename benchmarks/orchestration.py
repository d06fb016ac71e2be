"""What DVC and Prefect cost on top of the work itself.

    python -m benchmarks.orchestration

Works in a clone of what this checkout has committed, with the demo's data and trainings of a few steps. For the cost of
a stage its pipeline is replaced by a chain of copies. Everything is timed as a user starts it: by its command.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.tables import Cell, Report, describe_machine, show
from minimagen.config import read_yaml

CHECKOUT = Path(__file__).parents[1]
NUM_LINKS = 6
"""Stages of the chain; fewer than the pipeline's, so that a slope over them does not flatter."""
NUM_DEMO_STAGES = 7
DEMO_STAGES_S = 352.0
"""What the commands of the demo's stages take on two idle cores, from the whole runs in docs/experiments.md."""
READY_WITHIN_S = 240
NO_OP_REPRO_S, NO_OP_RUN_S, STAGE_S, SHARE = 3.0, 20.0, 0.5, 0.05
_ENVIRONMENT_FILE = Path("runs/prefect/env")


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds, one entry a round."""

    no_op_repro: Sequence[float]
    no_op_run: Sequence[float]
    command: Sequence[float]
    """One link of the chain by itself."""
    one_link: Sequence[float]
    """`dvc repro` of one link that has to run."""
    chain: Sequence[float]
    """`dvc repro` of all links."""
    chain_no_op_run: Sequence[float]
    chain_run: Sequence[float]
    """A run of the deployment in which all links run."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--port", type=int, default=4277, help="of the Prefect server, free")
    parser.add_argument(
        "--demo-s", type=float, default=DEMO_STAGES_S, help="what the demo's stages take on this machine"
    )
    parser.add_argument("--json", type=Path, help="write the table there as well")
    options = parser.parse_args(arguments)
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        make_project(project)
        costs = measure(project, options.rounds, options.port)
    notes = (
        f"a stage: the slope between 1 and {NUM_LINKS} stages that copy a file, minus the copy",
        f"share: (a run with nothing to do + {NUM_DEMO_STAGES} x a stage in a run) / ({options.demo_s:.0f} s of "
        "the demo's stages + the same): an estimate",
    )
    show(Report("orchestration, seconds", rows_of(costs, options.demo_s), notes, machine), options.json)


def rows_of(costs: Costs, demo_s: float) -> list[dict[str, Cell]]:
    """Returns the table: what was measured, its spread over the rounds, and whether it is within its goal.

    Args:
        demo_s: seconds that the commands of the demo's stages take.
    """
    repro = _each(
        lambda all_, one, bare: (all_ - one) / (NUM_LINKS - 1) - bare, costs.chain, costs.one_link, costs.command
    )
    run = _each(
        lambda all_, none, bare: (all_ - none) / NUM_LINKS - bare, costs.chain_run, costs.chain_no_op_run, costs.command
    )
    own = _each(lambda none, stage: none + NUM_DEMO_STAGES * stage, costs.no_op_run, run)
    share = [seconds / (demo_s + seconds) for seconds in own]
    return [
        _row("dvc repro with nothing to do", costs.no_op_repro, NO_OP_REPRO_S),
        _row("a run of the deployment with nothing to do", costs.no_op_run, NO_OP_RUN_S),
        _row("a stage in dvc repro, above its command", repro, STAGE_S),
        _row("a stage in a run of the deployment, above its command", run, None),
        _row("share of the demo's time", share, SHARE),
    ]


def measure(project: Path, num_rounds: int, port: int) -> Costs:
    """Measures a project whose stages are current, on a Prefect server of its own."""
    no_op_repro = [_timed([_dvc(), "repro"], project) for _ in range(num_rounds)]
    with orchestra(project, port):
        no_op_run = [_run(project) for _ in range(num_rounds)]
        write_chain(project)
        command = [_timed(["sh", "-c", "cp link-0 copied"], project) for _ in range(num_rounds)]
        first, last = "link-1", f"link-{NUM_LINKS}"
        one_link = [_timed([_dvc(), "repro", "--force", "--single-item", first], project) for _ in range(num_rounds)]
        chain = [_timed([_dvc(), "repro", "--force", last], project) for _ in range(num_rounds)]
        chain_no_op_run = [_run(project) for _ in range(num_rounds)]
        chain_run = [_run(project, "-p", "force=true") for _ in range(num_rounds)]
    return Costs(no_op_repro, no_op_run, command, one_link, chain, chain_no_op_run, chain_run)


def make_project(project: Path) -> None:
    """Writes a clone of this checkout with short trainings, every stage of which is current."""
    subprocess.run(["git", "clone", "--quiet", "--shared", str(CHECKOUT), str(project)], check=True)
    (project / "params.yaml").write_text(json.dumps(short_params()), encoding="utf-8")
    subprocess.run([_dvc(), "repro", "--quiet"], cwd=project, env=_environment(project), check=True)


def short_params() -> dict[str, object]:
    """Returns the demo's parameters with its data, trainings of twenty steps and a short evaluation."""
    document = read_yaml(CHECKOUT / "experiments/demo.yaml")
    assert isinstance(document, dict)
    for section in document["unets"].values():
        section["training"] |= {"num_steps": 20, "warmup_steps": 2, "save_every": 20, "validate_every": 20}
        section["training"] |= {"num_validation_images": 16}
        section["training"]["grid"] |= {"every": 20, "num_captions": 2, "num_steps": 2}
    document["evaluate"] |= {"num_captions": 8, "num_training_captions": 4, "num_loss_images": 16}
    document["evaluate"] |= {"num_super_pairs": 24, "num_report_rows": 2, "batch_size": 8}
    return document


def write_chain(project: Path) -> None:
    """Replaces a project's pipeline by stages that copy a file, each the one before."""
    stages = {
        f"link-{number}": {
            "cmd": f"cp link-{number - 1} link-{number}",
            "deps": [f"link-{number - 1}"],
            "outs": [f"link-{number}"],
        }
        for number in range(1, NUM_LINKS + 1)
    }
    (project / "dvc.yaml").write_text(json.dumps({"stages": stages}), encoding="utf-8")
    (project / "dvc.lock").unlink()
    (project / "link-0").write_text("a file\n", encoding="utf-8")


@contextmanager
def orchestra(project: Path, port: int) -> Iterator[None]:
    """Runs `make orchestrate`'s command while the block lasts."""
    command = [sys.executable, "-m", "flows.orchestrate", "--port", str(port)]
    process = subprocess.Popen(command, cwd=project, env=_environment(project), stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + READY_WITHIN_S
        while not (project / _ENVIRONMENT_FILE).exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(command)} is not ready")
            time.sleep(0.1)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _run(project: Path, *options: str) -> float:
    """Returns how long the command takes that asks for a run of the deployment and follows it to its end."""
    return _timed([sys.executable, "-m", "flows.run_deployment", "train-cascade", "--watch", *options], project)


def _timed(command: Sequence[str], project: Path) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=project, env=_environment(project), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def _environment(project: Path) -> dict[str, str]:
    """Returns surroundings in which the clone's package and this Python's commands are found."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return os.environ | {"PYTHONPATH": str(project), "PATH": path}


def _dvc() -> str:
    return str(Path(sys.executable).with_name("dvc"))


def _each(combine: Callable[..., float], *columns: Sequence[float]) -> list[float]:
    return [combine(*values) for values in zip(*columns, strict=True)]


def _row(what: str, values: Sequence[float], goal: float | None) -> dict[str, Cell]:
    middle = median(values)
    verdict = None if goal is None else "yes" if middle <= goal else "no"
    return {"what": what, "median": middle, "low": min(values), "high": max(values), "goal": goal, "within": verdict}


if __name__ == "__main__":
    main()
