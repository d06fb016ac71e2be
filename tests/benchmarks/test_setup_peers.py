import re
from pathlib import Path

import pytest

from benchmarks.setup_peers import REQUIREMENTS, peer_python


def test_every_package_of_the_peers_is_pinned() -> None:
    lines = [line for line in REQUIREMENTS.read_text().splitlines() if not line.startswith("#")]

    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9a-z.+]*", line) for line in lines)
    assert {"minimagen==0.0.9", "imagen-pytorch==2.1.0"} <= set(lines)


def test_missing_environment_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"python -m benchmarks\.setup_peers"):
        peer_python(tmp_path)
