import re
from pathlib import Path

import pytest

from benchmarks.setup_img2dataset import REQUIREMENTS, img2dataset_command


def test_every_package_of_img2dataset_is_pinned() -> None:
    lines = [line for line in REQUIREMENTS.read_text().splitlines() if not line.startswith("#")]

    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9a-z.+]*", line) for line in lines)
    assert "img2dataset==1.47.0" in lines


def test_missing_environment_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"python -m benchmarks\.setup_img2dataset"):
        img2dataset_command(tmp_path)
