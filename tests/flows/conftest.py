"""A Prefect server for the flows' tests, and a DVC project small enough to run in a moment."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.testing.utilities import prefect_test_harness

from tests.flows.orchestra import make_dvc_project

PIPELINE = """
stages:
  draw:
    cmd: cat brush > picture
    deps: [brush]
    outs: [picture]
  part:
    foreach: ${names}
    do:
      cmd: mkdir -p parts && cp picture parts/${item}
      deps: [picture]
      outs: ["parts/${item}"]
  judge:
    cmd: cat parts/one ${verdict} > score
    deps: [parts]
    outs: [score]
"""
PARAMETERS = "names: [one, two]\nverdict: parts/two\n"


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A server of the session's own, on loopback, with an empty database."""
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC project of four stages, as the working directory."""
    make_dvc_project(tmp_path)
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "params.yaml").write_text(PARAMETERS)
    (tmp_path / "brush").write_text("red\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path
