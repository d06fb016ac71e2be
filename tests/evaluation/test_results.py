"""The shape of metrics.json."""

import json
from dataclasses import replace

from minimagen.evaluation.results import to_metrics
from tests.evaluation.made_up_results import made_up_results


def test_metrics_have_the_keys_that_tools_read():
    metrics = to_metrics(made_up_results())

    assert metrics["alignment"] == metrics["alignment"] | {  # pyright: ignore[reportOperatorIssue]
        "joint": 138 / 144,
        "size": 140 / 144,
        "shuffled": 0.007,
        "chance": 0.0014,
    }
    unets = metrics["unets"]
    assert isinstance(unets, dict)
    assert unets["base"] == {"loss": 0.03, "loss_by_time": {"0.00-0.50": 0.02, "0.50-1.00": 0.04}}
    assert unets["super"] == unets["super"] | {  # pyright: ignore[reportOperatorIssue]
        "loss": 0.01,
        "psnr": 27.0,
        "psnr_bicubic": 24.0,
        "colour_error": 0.5,
    }
    assert metrics["reproduction"] == {"top1": 0.875, "num_right": 7, "num_pairs": 8}
    assert metrics["sampling"] == {"num_evaluations": 52}


def test_what_was_not_measured_is_absent():
    metrics = to_metrics(replace(made_up_results(), alignment=None, features=None))

    assert metrics.keys().isdisjoint({"alignment", "base_alignment", "features", "retrieval"})


def test_estimates_stand_with_their_intervals_and_controls():
    metrics = to_metrics(made_up_results())

    assert metrics["features"] == {
        "kid": 0.0123, "kid_low": 0.01, "kid_high": 0.015,
        "kid_of_training": 0.001, "kid_of_training_low": -0.001, "kid_of_training_high": 0.003,
        "num_drawn": 144, "num_real": 512,
        "fid": 3.0, "fid_low": 2.0, "fid_high": 4.0, "fid_usual": 9.0,
        "clip_score": 28.0, "clip_score_low": 27.0, "clip_score_high": 29.0,
        "clip_score_of_real": 30.0, "clip_score_of_real_low": 29.0, "clip_score_of_real_high": 31.0,
    }  # fmt: skip
    retrieval = metrics["retrieval"]
    assert isinstance(retrieval, dict)
    assert (retrieval["top1"], retrieval["shuffled"], retrieval["chance"]) == (120 / 144, 14 / 144, 0.1)


def test_metrics_are_json_without_nan():
    json.dumps(to_metrics(made_up_results()), allow_nan=False)
