from dataclasses import replace

from benchmarks.course import demo_params
from benchmarks.few_steps import FEW, MANY, table_rows, with_steps
from minimagen.evaluation.metrics import share_of
from minimagen.evaluation.results import to_metrics
from tests.evaluation.made_up_results import made_up_results

DEMO = demo_params()


def test_many_steps_are_a_thousand_of_ddpm_and_few_are_of_the_project_s_own_sampler() -> None:
    few, many = (with_steps(DEMO, name).sampling for name in (FEW, MANY))

    assert [(stage.sampler, stage.num_steps) for stage in few.values()] == [("dpmpp_2m", 25), ("dpmpp_2m", 15)]
    assert [(stage.sampler, stage.num_steps) for stage in many.values()] == [("ddpm", 1000), ("ddpm", 1000)]
    assert few["super"].aug_level == many["super"].aug_level == DEMO.sampling["super"].aug_level


def test_every_metric_with_an_interval_is_compared_with_that_of_many_steps() -> None:
    many = replace(made_up_results(), num_evaluations=2000)
    few = replace(many, num_evaluations=40, reproduction=share_of(1, 8))

    rows = {row["metric"]: row for row in table_rows(to_metrics(few), to_metrics(many))}

    last = rows.pop("evaluations a picture")
    assert list(last.values())[1:] == ["40", "2000", "1 : 50"]
    assert rows.pop("training captions reproduced")["within its interval"] == "no"
    assert {row["within its interval"] for row in rows.values()} == {"yes"}
    assert rows.keys() >= {"alignment: joint", "kid", "fid", "right caption found", "super: dB over bicubic"}
