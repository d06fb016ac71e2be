import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def project(tmp_path: Path, checkout: Path) -> Path:
    (tmp_path / "dvc.yaml").write_text((checkout / "dvc.yaml").read_text())
    return tmp_path


def run(project: Path, checkout: Path, *options: str) -> tuple[int, list[str]]:
    command = [sys.executable, str(checkout / "scripts" / "dvc_deps.py"), *options]
    result = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    return result.returncode, result.stdout.splitlines()


def test_wrong_lists_are_told_and_then_written(project: Path, checkout: Path) -> None:
    path = project / "dvc.yaml"
    right = path.read_text()
    wrong = right.replace("        - minimagen/stages/ingest.py\n", "        - minimagen/stages/nosuch.py\n")
    path.write_text(wrong)
    told = [
        "dvc.yaml: ingest: minimagen/stages/ingest.py is missing",
        "dvc.yaml: ingest: minimagen/stages/nosuch.py is too much",
    ]

    assert run(project, checkout) == (1, told)
    assert path.read_text() == wrong
    assert run(project, checkout, "--write") == (0, told)
    assert path.read_text() == right
    assert run(project, checkout) == (0, [])
