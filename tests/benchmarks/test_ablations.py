import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.ablations import Bench, Result, read_results, run_missing, run_missing_together, table_rows
from benchmarks.arms import ARMS, BASE, SUPER, Arm, reference_of
from benchmarks.course import demo_params

SMALL = {"training__batch_size": 4, "unet__dim": 8, "unet__cond_dim": 16}
FIRST, LAST = reference_of(BASE), Arm("steps", "3", sampling={"num_steps": 3})


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    params = demo_params()
    sections = {name: Arm("", "", name, training=SMALL).section(params, 0) for name in (BASE, SUPER)}
    small = params.model_copy(update={"unets": sections})
    return Bench(tmp_path, num_steps=2, num_captions=4, num_scenes=60, params=small)


def results_of(scores: dict[str, list[float]]) -> Iterator[Result]:
    for arm, values in scores.items():
        for seed, joint in enumerate(values):
            yield Result(arm, BASE, seed, 10, 4, {"joint": joint}, 1.0, 2.0)


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: f"{arm.unet}, {arm.label}")
def test_every_arm_is_a_change_of_valid_parameters(arm: Arm) -> None:
    params, first = demo_params(), reference_of(arm.unet)

    is_same = (arm.section(params, 1), arm.settings(params)) == (first.section(params, 1), first.settings(params))

    assert is_same == (arm == first)
    assert arm.section(params, 1).training.seed == 1


def test_labels_tell_arms_apart() -> None:
    assert len({(arm.unet, arm.label) for arm in ARMS}) == len(ARMS)


def test_stopped_ablations_go_on_and_share_weights(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    first = next(run_missing(bench, [FIRST, LAST], [0], path))
    with path.open("a") as stream:
        stream.write('{"arm": "cut sh')

    rest = list(run_missing(bench, [FIRST, LAST], [0], path))

    assert (first.arm, [result.arm for result in rest]) == (FIRST.label, [LAST.label])
    assert first.train_cpu_s > 0
    assert rest[0].train_cpu_s == 0
    assert len(list((tmp_path / "models").iterdir())) == 1


@pytest.mark.long
def test_several_processes_find_what_one_finds(bench: Bench, tmp_path: Path) -> None:
    alone = list(run_missing(bench, [FIRST, LAST], [0], tmp_path / "alone.jsonl"))
    shutil.rmtree(tmp_path / "models")

    together = list(run_missing_together(bench, [FIRST, LAST], [0], tmp_path / "together.jsonl", num_jobs=2))

    assert {one.key: one.scores for one in together} == {one.key: one.scores for one in alone}
    assert read_results(tmp_path / "together.jsonl").keys() == {one.key for one in alone}


def test_super_resolution_is_scored_by_alignment_and_by_its_gain(bench: Bench) -> None:
    result = bench.run(Arm("steps", "2", SUPER, sampling={"num_steps": 2}), 0)

    assert {"joint", "gain_db", "background"} <= set(result.scores)
    assert result.scores["gain_db"] < 0


def test_differences_are_paired_by_seed() -> None:
    results = results_of({FIRST.label: [0.1, 0.5, 0.9], LAST.label: [0.2, 0.6, 1.0]})

    rows = table_rows({result.key: result for result in results}, [FIRST, LAST], [0, 1, 2])

    assert rows[1]["joint, 95 %"] == "0.600 +- 0.994"
    assert rows[1]["joint (super: gain_db) less the reference's"] == "0.100 +- 0.000"


def test_no_results_yet_is_no_error(tmp_path: Path) -> None:
    assert read_results(tmp_path / "none.jsonl") == {}
