"""What the gate decided about a project's cascade stands in the registry, and asking again changes nothing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from minimagen.files import write_json
from minimagen.stages.promote import (
    PENDING,
    RECORD,
    find_settled,
    judge,
    promote_by_hand,
    registry_of,
    settle,
    training_identity,
)
from tests.datasets.prepared import curated_record, write_prepared
from tests.small_cascade import write_small_cascade


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a cascade, rows and an empty database, to be copied."""
    root = tmp_path_factory.mktemp("prepared")
    shutil.copy(Path(__file__).parents[2] / "experiments/demo.yaml", root / "params.yaml")
    write_small_cascade(root / "data")
    write_rows(root, 12)
    assert registry_of(root).versions() == []
    return root


@pytest.fixture
def root(prepared: Path, tmp_path: Path) -> Path:
    shutil.copytree(prepared, tmp_path / "a project")
    return tmp_path / "a project"


def write_rows(root: Path, number: int, name: str = "shard-1") -> None:
    records = [curated_record(index, "train" if index else "validation", (16, 16)) for index in range(number)]
    shutil.rmtree(root / "data/curated", ignore_errors=True)
    shutil.rmtree(root / "data/embeddings", ignore_errors=True)
    write_prepared(root / "data", {name: records})


def become(root: Path, *, skill: float, num_steps: int) -> None:
    """Makes the project's cascade another one that does ``skill`` dB well."""
    cascade = json.loads((root / "data/cascade.json").read_text())
    cascade["sampling"]["base"]["num_steps"] = num_steps
    write_json(root / "data/cascade.json", cascade)
    samples = [
        {"key": str(i), "caption": "c", "picture": "p", "psnr": {"base": skill + (i * num_steps) % 7 / 10}}
        for i in range(40)
    ]
    write_json(root / "data/eval/scores.json", {"denoising": {"times": [0.5], "samples": samples}})
    write_json(root / "data/eval/metrics.json", {"unets": {"base": {"loss": 0.1}}})


def test_first_better_and_worse(root: Path) -> None:
    words = []
    for skill, num_steps in ((20.0, 3), (22.0, 4), (19.0, 5)):
        become(root, skill=skill, num_steps=num_steps)
        words.append(judge(root).word)
    assert words == ["promoted", "promoted", "rejected"]
    tags = registry_of(root).versions()[2].tags
    assert (tags["verdict"], tags["compared_with"], tags["num_samples"]) == ("rejected", "2", "40")
    assert float(tags["gain_db"]) == pytest.approx(-3.0, abs=0.2)


@pytest.mark.parametrize("skill", [22.0, 19.0])
def test_asking_again_changes_nothing(root: Path, skill: float) -> None:
    become(root, skill=20.0, num_steps=3)
    judge(root)
    become(root, skill=skill, num_steps=4)
    first = judge(root)
    registry = registry_of(root)
    before = (registry.versions(), [registry.find(alias) for alias in ("champion", "previous", "challenger")])

    again = judge(root)

    assert (again.version, again.word) == (first.version, first.word)
    assert before == (registry.versions(), [registry.find(alias) for alias in ("champion", "previous", "challenger")])


def test_a_cascade_that_was_rolled_back_does_not_come_back_by_itself(root: Path) -> None:
    for skill, num_steps in ((20.0, 3), (22.0, 4)):
        become(root, skill=skill, num_steps=num_steps)
        judge(root)
    registry_of(root).rollback()

    verdict = judge(root)
    assert (verdict.word, verdict.decision.reasons) == ("rejected", ("version 2 was champion and was rolled back",))

    promote_by_hand(root, 2)
    assert judge(root).word == "promoted"


def test_rows_count_as_known_once_their_verdict_is_recorded(root: Path) -> None:
    become(root, skill=20.0, num_steps=3)
    assert find_settled(root) is None

    version = judge(root, needs_record=True).version
    assert registry_of(root).versions()[0].tags[RECORD] == PENDING and find_settled(root) is None

    settle(root, version, "retrained/a")
    known = find_settled(root)
    assert known is not None and known.number == version
    write_rows(root, 13)
    assert find_settled(root) is None


def test_identity_is_of_rows_and_parameters_not_of_snapshot_and_shards(root: Path) -> None:
    first = training_identity(root)
    text = (root / "params.yaml").read_text()

    (root / "params.yaml").write_text(text.replace("snapshot: demo-1", "snapshot: other"))
    write_rows(root, 12, name="shard-of-another-day")
    assert training_identity(root) == first

    (root / "params.yaml").write_text(text.replace("seed: 0", "seed: 1"))
    assert training_identity(root) != first


@pytest.mark.long
def test_commands_promote_and_roll_back(root: Path, checkout: Path) -> None:
    def run(*arguments: str) -> str:
        environment = os.environ | {"PYTHONPATH": str(checkout)}
        command = [sys.executable, "-m", "minimagen.cli", *arguments]
        return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True).stdout

    become(root, skill=20.0, num_steps=3)
    judge(root)
    become(root, skill=22.0, num_steps=4)

    assert run("promote").startswith("version 2 is promoted\n  gain +1.99")
    assert run("rollback") == "version 1 is the champion\n"
