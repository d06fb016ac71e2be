"""A U-Net that is too large for the machine is refused by the command itself, in seconds and before any work."""

import os
import subprocess
import sys
from pathlib import Path

from tests.stages.tiny_project import CHECKOUT

MAIN = "from minimagen.cli import main; main()"
TERABYTES = 65_536
"""Channels of a base U-Net that fits no machine."""


def write_params(root: Path, *, dim: int) -> None:
    demo = (CHECKOUT / "experiments/demo.yaml").read_text()
    assert demo.count("      dim: 32\n") == 1
    (root / "params.yaml").write_text(demo.replace("      dim: 32\n", f"      dim: {dim}\n"))


def minimagen(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", MAIN, *arguments]
    environment = os.environ | {"MINIMAGEN_DEVICE": "cpu"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_training_of_terabytes_is_refused_with_the_numbers_before_any_data_is_read(tmp_path: Path) -> None:
    write_params(tmp_path, dim=TERABYTES)

    refused = minimagen(tmp_path, "train", "base")

    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert line.startswith("params.yaml: unets.base: its training needs ")
    assert " GiB of cpu memory (" in line and " GiB are available" in line
    assert not (tmp_path / "data").exists()


def test_the_other_u_net_is_not_refused(tmp_path: Path) -> None:
    write_params(tmp_path, dim=TERABYTES)

    told = minimagen(tmp_path, "train", "super")

    assert "curated/manifest.json: no such file" in told.stderr


def test_inspect_tells_before_anything_starts_that_it_does_not_fit(tmp_path: Path) -> None:
    write_params(tmp_path, dim=TERABYTES)

    told = minimagen(tmp_path, "inspect")

    assert told.returncode == 0
    base, top = (next(line for line in told.stdout.splitlines() if f" {name} " in line) for name in ("base", "super"))
    assert " no " in base and " yes " in top
