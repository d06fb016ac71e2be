"""A kill anywhere in the pipeline under DVC: nothing is left running, no out is half, run again it ends the same.

What a killed DVC tore of its own files `minimagen repair` heals first, as README says.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.reproduce import reproduce
from tests.durability.pipeline_kills import Outcome, draw_kills, run_kill
from tests.durability.tables import table_of
from tests.durability.toy_pipeline import CHECKOUT, COLD, OUTS, Clean, WarmDvc, outs_of, run_clean, warm_dvc
from tests.torture import TORTURE, TellTable, num_times, whole_only

NUM_KILLS, NUM_COLD = num_times(3, 20), num_times(0, 10)
COLD_S = 6.0
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600 + 40 * NUM_KILLS)]


@pytest.fixture(scope="module")
def warm() -> Iterator[WarmDvc]:
    with warm_dvc() as running:
        yield running


@pytest.fixture(scope="module")
def clean(warm: WarmDvc, tmp_path_factory: pytest.TempPathFactory) -> Clean:
    return run_clean(warm, tmp_path_factory.mktemp("pipeline"))


def test_kills_leave_no_orphan_and_no_half_out_and_change_no_byte(
    clean: Clean, warm: WarmDvc, tmp_path: Path, tell_table: TellTable
) -> None:
    kills = draw_kills(NUM_KILLS, NUM_COLD, seed=2026)
    outcomes = [run_kill(kill, clean, warm, tmp_path / str(n), COLD_S) for n, kill in enumerate(kills)]
    tell_table(f"{NUM_KILLS} kills under dvc repro", table_of([_row(stage, outcomes) for stage in OUTS]))
    assert [outcome for outcome in outcomes if not outcome.is_good] == []


def _row(stage: str, outcomes: list[Outcome]) -> dict[str, object]:
    own = [outcome for outcome in outcomes if outcome.kill.stage == stage]
    return {
        "stage": stage,
        "kills": len(own),
        "cold": sum(outcome.kill.is_cold for outcome in own),
        "hit the stage": sum(outcome.hit == "stage" for outcome in own),
        "hit dvc alone": sum(outcome.hit == "dvc" for outcome in own),
        "longest to be gone, s": f"{max((outcome.gone_s for outcome in own), default=0.0):.2f}",
        "repaired first": sum(bool(outcome.torn) for outcome in own),
        "half outs": sum(outcome.is_partial for outcome in own),
        "same bytes": sum(outcome.is_equal for outcome in own),
    }


def test_stages_run_again_at_once_change_no_byte(clean: Clean, warm: WarmDvc) -> None:
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in _files(clean.root / "data")}
    assert warm.start(clean.root, "repro", num_stages=len(OUTS)).ended() == 0
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in _files(clean.root / "data")} == before


@pytest.mark.parametrize("stage", list(OUTS)[:: 1 if TORTURE else 4])
def test_a_stage_run_bare_writes_what_dvc_had_it_write(clean: Clean, warm: WarmDvc, tmp_path: Path, stage: str) -> None:
    root = clean.copy(stage, tmp_path / "project")
    assert warm.start(root, "minimagen", *stage.split("@")).ended() == 0, (root / "warm.log").read_text()
    assert outs_of(root, stage) == clean.outs[stage]


@whole_only
@pytest.mark.parametrize("stage", ["curate", "train@base"])
def test_a_stage_run_by_a_flow_writes_the_same(
    clean: Clean, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    root = clean.copy(stage, tmp_path / "project")
    for name, value in COLD.items():
        monkeypatch.setenv(name, value)
    assert reproduce(stage, lambda line: None, root=root, environment={"PYTHONPATH": str(CHECKOUT)}) == "Ran"
    assert outs_of(root, stage) == clean.outs[stage]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
