"""A trained project, once for all tests of the stages."""

from pathlib import Path

import pytest

from minimagen.stages.train import run_train
from tests.stages.tiny_project import tiny_params, write_tiny_data


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose base U-Net is trained, to be read only."""
    root = tmp_path_factory.mktemp("trained")
    write_tiny_data(root)
    run_train(tiny_params(), "base", root)
    return root
