"""The flow that encodes captions beside the stage embed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from distributed import Client

from flows.crew import Crew, crew_of
from flows.precompute_embeddings import precompute_embeddings
from minimagen.config import load_params
from minimagen.stages.embed import embed_lock, run_embed
from tests.contents import files_below
from tests.flows.orchestra import free_port
from tests.flows.runs import artifacts_of, states_of_tasks
from tests.stages.tiny_project import CHECKOUT
from tests.text.builders import CORPUS, make_curated, make_encoder

pytestmark = pytest.mark.usefixtures("prefect_server")
NUM_SHARDS = 20
CAPTIONS = {
    f"demo-1-{number:05d}": [f"{CORPUS[number % len(CORPUS)]} {word}" for word in ("frog", "banana " * (5 * number))]
    for number in range(NUM_SHARDS)
}


def make(root: Path) -> Path:
    """Writes a project whose captions are curated."""
    root.mkdir()
    make_curated(root / "data/curated", CAPTIONS)
    make_encoder(root / "data/text_encoder")
    (root / "params.yaml").write_text((CHECKOUT / "experiments/demo.yaml").read_text())
    return root


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("MINIMAGEN_DEVICE", "cpu")
    root = make(tmp_path / "by_flow")
    monkeypatch.chdir(root)
    yield root


def embed(root: Path) -> tuple[dict[str, str], int]:
    """Runs the stage itself; returns what it made, and how many captions it encoded."""
    run_embed(load_params(root / "params.yaml"), root)
    timings = json.loads((root / "runs/embed/timings.json").read_text())
    return files_below(root / "data/embeddings"), timings["num_encoded"]


@contextmanager
def dask_scheduler(num_workers: int) -> Iterator[str]:
    """Yields the address of a scheduler with workers of one thread each, all started by Dask's own commands."""
    dask = str(Path(sys.executable).with_name("dask"))
    loopback = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
    address = f"tcp://127.0.0.1:{(port := free_port())}"
    commands = [[dask, "scheduler", "--port", str(port), *loopback]]
    commands += [[dask, "worker", address, "--nthreads", "1", *loopback]] * num_workers
    with ExitStack() as held:
        for command in commands:
            process = held.enter_context(subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True))
            held.callback(os.killpg, process.pid, signal.SIGKILL)
        with Client(address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(num_workers, timeout=60)
        yield address


@pytest.mark.long
def test_a_scheduler_that_is_there_makes_the_same_shards_with_its_own_workers(project: Path, tmp_path: Path) -> None:
    expected, _ = embed(make(tmp_path / "by_stage"))

    with dask_scheduler(2) as address:
        state = precompute_embeddings(runner=address, return_state=True)
        assert crew_of(address, None) == Crew(address, 2)  # its workers are there for the next one

    assert {ended for _, ended in states_of_tasks(state, NUM_SHARDS + 1)} == {"Completed"}
    assert files_below(project / "data/embeddings") == expected
    assert embed(project) == (expected, 0)


@pytest.mark.long
@pytest.mark.parametrize("runner", ["threads", "dask"])
def test_twenty_shards_are_the_same_whoever_encodes_and_the_stage_encodes_none(
    runner: str, project: Path, tmp_path: Path
) -> None:
    expected, num_encoded = embed(make(tmp_path / "by_stage"))
    assert num_encoded == 2 * NUM_SHARDS + 1

    state = precompute_embeddings(runner=runner, workers=2, return_state=True)

    assert files_below(project / "data/embeddings") == expected
    assert embed(project) == (expected, 0)
    assert {ended for _, ended in states_of_tasks(state, NUM_SHARDS + 1)} == {"Completed"}
    summary, table = state.result(), {each.type: each for each in artifacts_of(state)}["table"]
    shown = {row["what"]: row["number"] for row in json.loads(str(table.data))}
    assert shown["captions"] == summary.num_captions == 2 * NUM_SHARDS
    assert shown["captions encoded by this run"] == 2 * NUM_SHARDS + 1
    assert summary.captions.num_cut > 0


def test_what_is_encoded_is_not_encoded_again(project: Path) -> None:
    embed(project)
    (project / "data/embeddings/shards/scenes-demo-1-00003.safetensors").unlink()

    state = precompute_embeddings(workers=1, return_state=True)

    assert states_of_tasks(state, 1) == [("scenes-demo-1-00003", "Completed")]
    assert embed(project)[1] == 0


def test_a_stage_that_has_not_finished_is_named(project: Path) -> None:
    (project / "data/curated/manifest.json").unlink()

    state = precompute_embeddings(return_state=True)

    assert state.is_failed() and str(state.message).endswith("data/curated has not finished: run `dvc repro`")


def test_embeddings_that_are_being_made_are_left_alone(project: Path) -> None:
    with embed_lock(project):
        state = precompute_embeddings(return_state=True)

    assert state.is_failed() and "embed.lock: held by process" in str(state.message)
