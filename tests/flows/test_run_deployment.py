import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.local_server import announce, open_server

STUB = "import os, sys; print(sys.argv[1:], os.environ['PREFECT_API_URL'], 'PREFECT_API_AUTH_STRING' in os.environ)"


@pytest.fixture
def prefect_that_tells(tmp_path: Path) -> dict[str, str]:
    """An environment in which `python -m prefect` tells what it was asked, instead of doing it."""
    package = tmp_path / "stub/prefect"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(STUB)
    return {**os.environ, "PYTHONPATH": str(package.parent)}


def minimagen(root: Path, environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "minimagen.cli", *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def test_cascade_runs_the_deployment_on_the_server_of_the_project(
    tmp_path: Path, prefect_that_tells: dict[str, str]
) -> None:
    announce(tmp_path, open_server(tmp_path, 4321))
    result = minimagen(tmp_path, prefect_that_tells, "cascade", "--watch")
    asked = "['deployment', 'run', 'train-cascade/train-cascade', '--watch']"
    assert (result.returncode, result.stdout) == (0, f"{asked} http://127.0.0.1:4321/api True\n")


def test_cascade_prefers_the_server_that_the_user_names(tmp_path: Path, prefect_that_tells: dict[str, str]) -> None:
    announce(tmp_path, open_server(tmp_path, 4321))
    environment = prefect_that_tells | {"PREFECT_API_URL": "http://127.0.0.1:4999/api"}
    result = minimagen(tmp_path, environment, "cascade")
    assert result.stdout == "['deployment', 'run', 'train-cascade/train-cascade'] http://127.0.0.1:4999/api False\n"


def test_cascade_without_a_server_says_what_to_start(tmp_path: Path, prefect_that_tells: dict[str, str]) -> None:
    result = minimagen(tmp_path, prefect_that_tells, "cascade")
    assert result.returncode == 2
    assert "no Prefect server runs for this project: start `make orchestrate`" in result.stderr
