from pathlib import Path

import pytest

from flows.plan import Step, Walk, plan
from tests.flows.orchestra import make_dvc_project

STAGES = ["draw", "part@one", "part@two", "judge"]


def step(stage: str, *after: str, is_stale: bool = False) -> Step:
    return Step(stage, frozenset(after), is_stale=is_stale)


def taken(walk: Walk) -> list[str]:
    """Returns the steps that can be taken now, all of them taken."""
    return [found.stage for found in iter(walk.take, None)]


def test_plan_is_the_order_of_the_graph(project: Path) -> None:
    steps = plan()
    assert [step.stage for step in steps] == STAGES
    assert [step.after for step in steps] == [set(), {"draw"}, {"draw"}, {"part@one", "part@two"}]
    assert [step.is_stale for step in steps] == [True] * 4
    assert not (project / "picture").exists()


@pytest.mark.parametrize("names", [["one", "two"], ["two", "one"], ["b", "one", "a", "two"]])
def test_siblings_stand_in_the_order_of_their_list(project: Path, names: list[str]) -> None:
    (project / "params.yaml").write_text(f"names: [{', '.join(names)}]\nverdict: parts/two\n")
    assert [step.stage for step in plan()] == ["draw", *(f"part@{name}" for name in names), "judge"]


def test_a_stage_says_in_dvc_yaml_that_it_needs_the_accelerator(project: Path) -> None:
    text = (project / "dvc.yaml").read_text()
    (project / "dvc.yaml").write_text(text.replace("  judge:\n", "  judge:\n    meta: {accelerator: true}\n"))
    assert [step.stage for step in plan() if step.needs_accelerator] == ["judge"]


def test_the_pipeline_trains_in_the_order_of_the_cascade_and_marks_what_is_heavy(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_dvc_project(tmp_path)
    (tmp_path / "dvc.yaml").symlink_to(checkout / "dvc.yaml")
    (tmp_path / "params.yaml").symlink_to(checkout / "experiments/demo.yaml")
    monkeypatch.chdir(tmp_path)
    steps = plan()
    names = [step.stage for step in steps]
    assert names.index("train@base") + 1 == names.index("train@super")
    assert [step.stage for step in steps if step.needs_accelerator] == [
        "embed",
        "train@base",
        "train@super",
        "evaluate",
    ]


def test_a_step_waits_for_those_whose_outs_it_reads() -> None:
    walk = Walk([step("a"), step("b"), step("c", "a"), step("d", "b", "c")])
    assert taken(walk) == ["a", "b"]
    walk.done("b", "UpToDate")
    assert taken(walk) == []
    walk.done("a", "UpToDate")
    assert taken(walk) == ["c"]
    walk.done("c", "UpToDate")
    assert taken(walk) == ["d"]


@pytest.mark.parametrize(("outcome", "has_to_run"), [("Ran", True), ("RunCache", True), ("UpToDate", False)])
def test_a_step_runs_where_an_input_is_new(outcome: str, has_to_run: bool) -> None:
    walk = Walk([step("a"), step("b", "a")])
    walk.done("a", outcome)  # pyright: ignore[reportArgumentType]
    assert walk.has_to_run(step("b", "a")) == has_to_run


def test_a_step_runs_where_it_is_stale_or_forced() -> None:
    assert Walk([]).has_to_run(step("a", is_stale=True))
    assert not Walk([]).has_to_run(step("a"))
    assert Walk([], is_forced=True).has_to_run(step("a"))
