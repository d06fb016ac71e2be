import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from flows.deployment_names import bare_name_at, is_deployment
from flows.local_server import announce, open_server
from tests.flows.orchestra import CHECKOUT, write_entry_points

SHOW = "import sys, prefect, os, json; print(json.dumps([sys.argv, os.environ.get('PREFECT_API_URL')]))"
"""A program called `prefect` that imports Prefect, as Prefect's own does, and shows what it then finds."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the checkout's deployments and plugin, whose server is announced."""
    for name in ("prefect.yaml", "pyproject.toml"):
        (tmp_path / name).symlink_to(CHECKOUT / name)
    write_entry_points(tmp_path / "installed")
    (tmp_path / "prefect").write_text(SHOW)
    announce(tmp_path, open_server(tmp_path, 4321))
    return tmp_path


def shown(folder: Path, project: Path, *arguments: str) -> tuple[list[str], str | None]:
    """Returns the arguments and the address that a command line of Prefect's has once Prefect is imported."""
    environment = os.environ | {"PYTHONPATH": f"{project / 'installed'}:{CHECKOUT}"}
    command = [sys.executable, str(project / "prefect"), *arguments]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert result.stderr == ""
    (_, *rest), address = json.loads(result.stdout)
    return rest, address


def test_a_bare_name_becomes_flow_and_deployment_at_the_server_of_the_project(project: Path) -> None:
    found = shown(project, project, "deployment", "run", "train-cascade", "--watch")
    assert found == (["deployment", "run", "train-cascade/train-cascade", "--watch"], "http://127.0.0.1:4321/api")


@pytest.mark.parametrize(
    "arguments", [("deployment", "run", "train-cascade/train-cascade"), ("deployment", "run", "unknown")]
)
def test_other_commands_are_left_alone(project: Path, arguments: Sequence[str]) -> None:
    assert shown(project, project, *arguments) == (list(arguments), None)


def test_other_folders_are_left_alone(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    arguments = ["deployment", "run", "train-cascade"]
    assert shown(tmp_path_factory.mktemp("elsewhere"), project, *arguments) == (arguments, None)


@pytest.mark.parametrize(
    ("started", "arguments", "position"),
    [
        (["python", "/bin/prefect"], ["/bin/prefect", "deployment", "run", "a"], 3),
        (["python", "/bin/prefect"], ["/bin/prefect", "--no-prompt", "deployment", "run", "a-b", "-p", "x=1"], 4),
        (["python", "-m", "prefect"], ["-m", "deployment", "run", "a"], 3),
        (["python", "-m", "other"], ["-m", "deployment", "run", "a"], None),
        (["python", "/bin/other"], ["/bin/other", "deployment", "run", "a"], None),
        (["python", "/bin/prefect"], ["/bin/prefect", "deployment", "run", "a/b"], None),
        (["python", "/bin/prefect"], ["/bin/prefect", "deployment", "run", "--id", "a"], None),
        (["python", "/bin/prefect"], ["/bin/prefect", "deployment", "run"], None),
        (["python", "/bin/prefect"], ["/bin/prefect", "deployment", "inspect", "a"], None),
        (["python", "/bin/prefect"], ["/bin/prefect"], None),
    ],
)
def test_the_name_is_found_in_that_one_command_alone(
    started: list[str], arguments: list[str], position: int | None
) -> None:
    assert bare_name_at(started, arguments) == position


@pytest.mark.parametrize("entry", ["- name: nightly", "  -   name: 'nightly' ", '- name: "nightly"'])
def test_a_deployment_is_one_that_prefect_yaml_lists(tmp_path: Path, entry: str) -> None:
    assert not is_deployment(tmp_path, "nightly")
    (tmp_path / "prefect.yaml").write_text(f"name: project\ndeployments:\n{entry}\n  description: x\n")
    assert is_deployment(tmp_path, "nightly")
    assert not is_deployment(tmp_path, "night")
    assert not is_deployment(tmp_path, "project")
