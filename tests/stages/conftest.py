"""What tests of the stages share: a trained project, and trainings that start in less time."""

import functools
from pathlib import Path

import pytest

from minimagen.stages import train
from minimagen.stages.train import run_train
from minimagen.training import run_identity
from tests.stages.tiny_project import tiny_params, write_tiny_data

_source_sha256 = functools.cache(run_identity.source_sha256)


@pytest.fixture
def quick_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out what half of a tiny training is spent on: the sources' hash but once, and the advice at the start."""
    monkeypatch.setattr(run_identity, "source_sha256", _source_sha256)
    monkeypatch.setattr(train, "_advise", lambda inputs, share_left: None)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose base U-Net is trained, to be read only."""
    root = tmp_path_factory.mktemp("trained")
    write_tiny_data(root)
    run_train(tiny_params(), "base", root)
    return root
