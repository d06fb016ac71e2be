"""Several processes train one U-Net as one process does, stop together, and one that fails ends them all."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from minimagen.journal import read_journal
from minimagen.stages.train import run_train
from minimagen.training.checkpoint import verify_state
from tests.stages.tiny_project import CHECKOUT, journalled, outs_of, run_folder, tiny_params, write_tiny_data

pytestmark = pytest.mark.long

NUM_PROCESSES = 2
SETTINGS = {"num_steps": 20, "batch_size": 5, "snapshot_epochs": []}
"""Five pictures for two processes: two and three."""
TRAINER = ["-m", "tests.stages.trainer"]


def arguments(root: Path, **stumble: object) -> list[str]:
    return [str(root), json.dumps(SETTINGS | stumble)]


def environment(**changes: str) -> Mapping[str, str]:
    # Gloo would otherwise look up the name of this machine.
    return os.environ | {"MINIMAGEN_DEVICE": "cpu", "GLOO_SOCKET_IFNAME": "lo"} | changes


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def torchrun() -> list[str]:
    return ["torch.distributed.run", "--standalone", "--nproc-per-node", str(NUM_PROCESSES)]


def accelerate_launch() -> list[str]:
    # Told no port, it takes one and the same for every training of a machine.
    processes = ["--multi_gpu", "--num_processes", str(NUM_PROCESSES), "--main_process_port", str(free_port())]
    return ["accelerate.commands.launch", *processes]


LAUNCHERS = {"torchrun": torchrun, "accelerate launch": accelerate_launch}
"""Those that the README names."""


def run_together(root: Path, **stumble: object) -> list[tuple[int, str, str]]:
    """Starts processes as a launcher does, and returns exit code, output and errors of each."""
    shared = {"WORLD_SIZE": str(NUM_PROCESSES), "LOCAL_WORLD_SIZE": str(NUM_PROCESSES)}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    command = [sys.executable, *TRAINER, *arguments(root, **stumble)]
    started = [
        subprocess.Popen(
            command,
            cwd=CHECKOUT,
            env=environment(RANK=str(rank), LOCAL_RANK=str(rank), **shared),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(NUM_PROCESSES)
    ]
    ended = [process.communicate(timeout=240) for process in started]
    return [(process.returncode, *told) for process, told in zip(started, ended, strict=True)]


def assert_same_curves(root: Path, expected: Path) -> None:
    found = journalled(root)
    assert [step for step, _ in found] == [step for step, _ in journalled(expected)]
    for (_, values), (_, wanted) in zip(found, journalled(expected), strict=True):
        assert values == pytest.approx(wanted, rel=1e-5, abs=1e-5)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same training in this one process."""
    root = tmp_path_factory.mktemp("alone")
    write_tiny_data(root)
    run_train(tiny_params(**SETTINGS), "base", root)
    return root


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_processes_of_a_launcher_have_the_curve_of_one_and_one_writes(
    alone: Path, tmp_path: Path, launcher: str
) -> None:
    write_tiny_data(tmp_path)

    done = subprocess.run(
        [sys.executable, "-m", *LAUNCHERS[launcher](), *TRAINER, *arguments(tmp_path)],
        cwd=CHECKOUT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )

    assert_same_curves(tmp_path, alone)
    assert outs_of(tmp_path).keys() == outs_of(alone).keys()
    assert done.stdout.count("train base: 20 steps") == 1 and done.stderr.count("no dropout") == 1
    assert json.loads((run_folder(tmp_path) / "timings.json").read_text())["num_processes"] == NUM_PROCESSES


def test_told_to_one_process_all_stop_and_one_alone_goes_on(alone: Path, tmp_path: Path) -> None:
    write_tiny_data(tmp_path)

    (code, output, _), (other_code, other_output, _) = run_together(tmp_path, do="stop", at_step=6, rank=1)

    assert (code, other_code, other_output) == (143, 143, "")
    assert "saved after step 7 of 20" in output
    assert verify_state(max((run_folder(tmp_path) / "states").iterdir())).environment.num_processes == NUM_PROCESSES
    run_train(tiny_params(**SETTINGS), "base", tmp_path)
    assert_same_curves(tmp_path, alone)


def test_told_to_a_process_that_reads_all_stop_before_the_first_step(tmp_path: Path) -> None:
    write_tiny_data(tmp_path)

    (code, output, _), (other_code, _, _) = run_together(tmp_path, do="stop reading", at_step=0, rank=1)

    assert (code, other_code) == (143, 143)
    assert "saved after step 0 of 20" in output
    *_, last = read_journal(run_folder(tmp_path) / "journal.jsonl")
    assert last.values["event"] == "interrupt"


def test_a_failing_process_ends_the_other_and_says_why(tmp_path: Path) -> None:
    write_tiny_data(tmp_path)

    (code, _, _), (other_code, _, told) = run_together(tmp_path, do="fail", at_step=2, rank=1)

    assert code != 0 and other_code == 1
    assert "MemoryError: this process has stumbled" in told
    assert not (tmp_path / "data/models").exists()


def test_a_picture_that_is_not_finite_in_one_process_is_skipped_by_all_and_told_once(tmp_path: Path) -> None:
    write_tiny_data(tmp_path)

    (code, _, told), (other_code, _, other_told) = run_together(tmp_path, do="nan", at_step=2, rank=1)

    (line,) = (line for line in told.splitlines() if line.startswith("WARNING"))
    assert (code, other_code, other_told) == (0, 0, "")
    assert line.startswith("WARNING step 3 is skipped: the loss is not finite; samples folder:")
    assert line.endswith("which are left out from now on")
    (event,) = (
        entry.values
        for entry in read_journal(run_folder(tmp_path) / "journal.jsonl")
        if entry.values.get("event") == "skip"
    )
    newest = verify_state(max((run_folder(tmp_path) / "states").iterdir()))
    assert newest.quarantined == (event["samples"],)


@pytest.mark.parametrize("rank", [0, 1])
def test_weights_spoilt_in_one_process_lead_all_back_and_the_curve_is_that_of_one(
    alone: Path, tmp_path: Path, rank: int
) -> None:
    write_tiny_data(tmp_path)

    (code, _, told), (other_code, _, other_told) = run_together(tmp_path, do="spoil", at_step=6, rank=rank)

    whose = "weights are" if rank == 0 else "state of another process is"
    (line,) = (line for line in told.splitlines() if line.startswith("WARNING"))
    assert (code, other_code, other_told) == (0, 0, "")
    assert line == f"WARNING step 7: the {whose} not finite: going back to the state after step 4"
    assert_same_curves(tmp_path, alone)


@pytest.mark.parametrize("rank", [0, 1])
def test_averages_spoilt_by_the_last_update_in_one_process_lead_all_back(
    alone: Path, tmp_path: Path, rank: int
) -> None:
    write_tiny_data(tmp_path)

    (code, _, told), (other_code, _, other_told) = run_together(tmp_path, do="spoil at the end", at_step=20, rank=rank)

    assert (code, other_code, other_told) == (0, 0, "")
    assert f"going back to the state after step {16 if rank == 0 else 20}" in told
    assert_same_curves(tmp_path, alone)
