"""The deployment retrain, started by its schedule on a real server and worker, while its source grows."""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from minimagen.tracking.registry import CHAMPION, Registry
from tests.flows.acted_project import make_acted_project, rows, supply
from tests.flows.growing_project import CHECKOUT
from tests.flows.orchestra import Orchestra, orchestra, until
from tests.torture import whole_only

pytestmark = [whole_only, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def playing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orchestra]:
    root = make_acted_project(tmp_path_factory.mktemp("retrained") / "project")
    for name in ("prefect.yaml", "pyproject.toml"):
        (root / name).write_bytes((CHECKOUT / name).read_bytes())
    with orchestra(root) as running:
        yield running


def retrain(playing: Orchestra, snapshot: str) -> str:
    """Lets the schedule start a run now and returns what it said, once it is completed."""
    num_before = len(playing.runs("retrain"))
    playing.schedule("retrain", datetime.now(UTC) + timedelta(seconds=1), snapshot=snapshot)
    run = until(lambda: playing.runs("retrain")[num_before:], "a scheduled run")[0]
    assert playing.wait_for(run) == "Completed", playing.log(run)
    return playing.log(run)


def test_each_time_it_promotes_rejects_or_finds_nothing_new_and_says_why(playing: Orchestra) -> None:
    registry = Registry(playing.root, "folder")
    trials = [
        ("first", 30, 20.0, "promoted: there was no champion", 1),
        ("nothing-new", 30, 25.0, "no new data: version 1 was trained on these very rows", 1),
        ("better", 40, 22.0, "promoted: gain +", 2),
        ("worse", 50, 21.0, "rejected: gain -", 2),
    ]
    for snapshot, num_rows, skill, said, champion in trials:
        supply(playing.root, rows(num_rows), skill)
        log = retrain(playing, snapshot)
        assert said in log
        assert ("Running stage 'train'" in log) == (snapshot != "nothing-new")
        found = registry.find(CHAMPION)
        assert found is not None and found.number == champion
    tags = subprocess.run(["git", "tag"], cwd=playing.root, check=True, capture_output=True, text=True).stdout.split()
    assert tags == ["retrained/better-v2", "retrained/first-v1", "retrained/worse-v3"]
