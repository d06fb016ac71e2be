"""One real server, worker and deployment for all of it; what needs no server is tested without."""

import json
import os
import re
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from flows.local_server import AUTH_FILE, EXPORTS_FILE, announced_settings
from minimagen.stages.train import run_train
from tests.canary import CANARY, places_of, tellers_of
from tests.flows.orchestra import PREFECT, Orchestra, environment, free_port, orchestra, until, write_training_project
from tests.flows.prefect_probes import allowed, prefect_probes
from tests.flows.prefect_server import door_of
from tests.probes import run_probes, table
from tests.stages.tiny_project import CHECKOUT, outs_of, run_folder, tiny_params, write_tiny_data

pytestmark = pytest.mark.long

NUM_STEPS, STOPPED_AT = 60, 30
GONE_WITHIN_S = 15.0
"""Within so many seconds of a cancellation no process of the run is left."""

SET_FOLDER = "prefect.deployments.steps.set_working_directory"


@pytest.fixture(scope="module")
def playing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orchestra]:
    """A project whose training stands still at a step until it is stopped; no stage of it is done."""
    root = tmp_path_factory.mktemp("orchestrated")
    write_training_project(root, num_steps=NUM_STEPS, do="wait", at_step=STOPPED_AT, rank=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMDB_TOKEN", CANARY)
        with orchestra(root) as running:
            yield running


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the same training makes when nobody disturbs it."""
    root = tmp_path_factory.mktemp("undisturbed")
    write_tiny_data(root)
    run_train(tiny_params(num_steps=NUM_STEPS), "base", root)
    return outs_of(root)


def answer(playing: Orchestra, path: str, **headers: str) -> int:
    """Returns the status of what the server answers to a stranger."""
    request = urllib.request.Request(playing.server.api_url + path, headers=headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as got:
            return got.status
    except urllib.error.HTTPError as error:
        return error.code


def test_it_says_what_to_open_and_what_to_export(playing: Orchestra) -> None:
    said = (playing.root / "orchestrate.log").read_text()
    assert f"Open     {playing.server.page} " in said
    assert f"Export   . {EXPORTS_FILE} " in said
    assert "deployment run train-cascade --watch" in said
    assert playing.server.auth not in said
    assert stat.S_IMODE((playing.root / AUTH_FILE).stat().st_mode) == 0o600
    assert announced_settings(playing.root) == playing.server.client_settings


def test_a_stranger_is_not_let_in(playing: Orchestra) -> None:
    assert answer(playing, "/health") == 200
    assert answer(playing, "/admin/version") == 401
    assert answer(playing, "/deployments/name/train-cascade/train-cascade") == 401
    assert {host for host, _ in playing.listening()} == {"127.0.0.1"}


def test_every_probe_of_the_server_is_answered_as_specified(playing: Orchestra) -> None:
    probes = prefect_probes()
    assert len(probes) >= 24
    results = run_probes([*allowed(), *probes], door_of(playing.server))
    assert [probe.name for probe, answer in results if probe.complaint(answer)] == [], table(results)


def test_a_second_one_is_refused_and_names_the_first(playing: Orchestra) -> None:
    command = [sys.executable, "-m", "flows.orchestrate"]
    result = subprocess.run(
        command, cwd=playing.root, env=environment(playing.root), capture_output=True, text=True, check=False
    )
    assert result.returncode == 75
    assert f"held by process {playing.process.pid}" in result.stderr


def test_deploying_by_hand_needs_no_variable_but_the_servers(playing: Orchestra) -> None:
    nothing_else = {"HOME": str(playing.root), "PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT)}
    result = subprocess.run(
        [PREFECT, "--no-prompt", "deploy", "--all"],
        cwd=playing.root,
        env=nothing_else | playing.server.client_settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    for name in ("train-cascade", "retrain", "compare-experiments"):
        deployed = json.loads(playing.server.ask(f"/deployments/name/{name}/{name}"))
        assert deployed["pull_steps"] == [{SET_FOLDER: {"directory": str(playing.root)}}]


def test_a_schedule_makes_runs(playing: Orchestra) -> None:
    playing.schedule("retrain", datetime.now(UTC) + timedelta(hours=2), snapshot="later")
    question = {"flow_runs": {"state": {"name": {"any_": ["Scheduled"]}}}}
    (run,) = json.loads(playing.server.ask("/flow_runs/filter", question))
    assert run["parameters"]["snapshot"] == "later"


def test_cancelled_it_saves_and_the_next_run_goes_on_to_the_same_bytes(
    playing: Orchestra, undisturbed: dict[str, str]
) -> None:
    run = playing.trigger()
    until((playing.root / "waiting").exists, "a training at the step where it waits")
    family = playing.family_of_runs()
    assert playing.trainers()
    assert "prefect" not in (playing.root / "waiting").read_text().split()

    playing.cancel(run)
    assert psutil.wait_procs(family, timeout=GONE_WITHIN_S)[1] == []
    assert playing.wait_for(run) == "Cancelled"
    assert not (playing.root / "data/models").exists()
    assert max(path.name for path in (run_folder(playing.root) / "states").iterdir()) == f"step-{STOPPED_AT + 1:08}"

    watched = subprocess.run(
        [PREFECT, "deployment", "run", "train-cascade", "--watch"],
        cwd=playing.root,
        env=environment(playing.root),
        capture_output=True,
        text=True,
        check=False,
    )
    assert watched.returncode == 0, watched.stderr + watched.stdout
    assert "Flow run finished successfully in 'Completed'" in watched.stdout
    (run,) = re.findall(r"UUID: ([0-9a-f-]{36})", watched.stdout)
    playing.log_with(run, f"going on after step {STOPPED_AT + 1} of {NUM_STEPS}")
    assert outs_of(playing.root) == undisturbed


def test_no_key_is_written_and_the_password_where_it_belongs_alone(playing: Orchestra) -> None:
    password = playing.server.auth.partition(":")[2]
    assert places_of(playing.root) == set()
    assert tellers_of(playing.descendants()) == []
    assert places_of(playing.root, password) == {str(AUTH_FILE), str(EXPORTS_FILE)}
    assert tellers_of(playing.descendants(), password) == []


def test_one_signal_ends_it_with_all_it_started(playing: Orchestra) -> None:
    assert playing.stop() == []
    assert not (playing.root / EXPORTS_FILE).exists()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", playing.server.port))


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    (tmp_path / "prefect.yaml").touch()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        command = [sys.executable, "-m", "flows.orchestrate", "--port", str(port)]
        result = subprocess.run(
            command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=False
        )
    assert result.returncode == 2
    assert f"port {port} is taken" in result.stderr


def test_another_folder_is_told_where_to_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flows.orchestrate"]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "prefect.yaml: not found; start this in the root of the project" in result.stderr


def test_a_server_that_does_not_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "prefect.yaml").touch()
    broken = tmp_path / "broken/prefect"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("def Body(): ...\nBody(min_items=1)\n")
    command = [sys.executable, "-m", "flows.orchestrate", "--port", str(free_port())]
    around = environment(tmp_path) | {"PYTHONPATH": f"{broken.parent}:{CHECKOUT}"}
    result = subprocess.run(command, cwd=tmp_path, env=around, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("server did not start:\n")
    assert "TypeError: Body() got an unexpected keyword argument 'min_items'" in result.stderr
