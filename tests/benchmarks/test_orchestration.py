import json
from pathlib import Path

import pytest

from benchmarks.orchestration import (
    NUM_DEMO_STAGES,
    NUM_LINKS,
    Costs,
    rows_of,
    short_params,
    write_chain,
)
from minimagen.config import validate_params
from tests.test_dvc_yaml import DOCUMENT

COSTS = Costs(
    no_op_repro=[1.0, 2.0, 9.0],
    no_op_run=[10.0, 10.0, 10.0],
    command=[0.01, 0.01, 0.01],
    one_link=[1.0, 1.0, 1.0],
    chain=[1.0 + (NUM_LINKS - 1) * 0.21] * 3,
    chain_no_op_run=[10.0, 10.0, 10.0],
    chain_run=[10.0 + NUM_LINKS * 1.51] * 3,
)


def test_a_stage_costs_what_one_more_of_them_takes_above_its_command() -> None:
    rows = {row["what"]: row for row in rows_of(COSTS, 300.0)}

    assert rows["a stage in dvc repro, above its command"]["median"] == pytest.approx(0.2)
    assert rows["a stage in a run of the deployment, above its command"]["median"] == pytest.approx(1.5)
    own = 10.0 + NUM_DEMO_STAGES * 1.5
    assert rows["share of the demo's time"]["median"] == pytest.approx(own / (300.0 + own))


def test_the_middle_of_the_rounds_is_held_to_the_goal() -> None:
    row = rows_of(COSTS, 300.0)[0]
    assert (row["median"], row["low"], row["high"], row["within"]) == (2.0, 1.0, 9.0, "yes")


def test_share_counts_every_stage_of_the_demo() -> None:
    demo = validate_params(short_params(), Path("params.yaml"))
    each = {"ingest": len(demo.sources), "train": len(demo.cascade)}
    assert sum(each.get(name, 1) for name in DOCUMENT["stages"]) == NUM_DEMO_STAGES


def test_each_link_of_the_chain_copies_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").touch()
    write_chain(tmp_path)

    stages = json.loads((tmp_path / "dvc.yaml").read_text())["stages"]
    assert len(stages) == NUM_LINKS
    assert [stage["deps"] for stage in stages.values()][1:] == [stage["outs"] for stage in stages.values()][:-1]
