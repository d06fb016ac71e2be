"""The shape of metrics.json."""

import json
from dataclasses import replace

from minimagen.evaluation.metrics import PairedInterval, share_of
from minimagen.evaluation.results import (
    AlignmentResult,
    AttributeResult,
    CopyingResult,
    Results,
    SuperResolutionResult,
    TimeBin,
    UNetResult,
    to_metrics,
)


def _results() -> Results:
    joint = AttributeResult("joint", share_of(3, 4), shuffled=0.1, chance=0.05)
    shape = AttributeResult("object", share_of(4, 4), shuffled=0.25, chance=0.2)
    found = SuperResolutionResult(27.0, 24.0, PairedInterval(3.0, 2.5, 3.5), num_pairs=200)
    unets = (UNetResult("base", 16, 0.2, (TimeBin(0, 1, 0.2),), None), UNetResult("super", 32, 0.1, (), found))
    return Results(AlignmentResult(joint, (shape,)), None, unets, share_of(7, 8), CopyingResult(0.1, 0.2), 52)


def test_metrics_have_the_keys_that_tools_read():
    metrics = to_metrics(_results())

    assert metrics["alignment"] == metrics["alignment"] | {  # pyright: ignore[reportOperatorIssue]
        "joint": 0.75,
        "object": 1.0,
        "shuffled": 0.1,
        "chance": 0.05,
    }
    unets = metrics["unets"]
    assert isinstance(unets, dict)
    assert unets["base"] == {"loss": 0.2, "loss_by_time": {"0.00-1.00": 0.2}}
    assert unets["super"] == unets["super"] | {  # pyright: ignore[reportOperatorIssue]
        "loss": 0.1,
        "psnr": 27.0,
        "psnr_bicubic": 24.0,
    }
    assert metrics["reproduction"] == {"top1": 0.875, "num_right": 7, "num_pairs": 8}
    assert metrics["sampling"] == {"num_evaluations": 52}


def test_what_was_not_measured_is_absent():
    metrics = to_metrics(replace(_results(), alignment=None))

    assert "alignment" not in metrics
    assert "base_alignment" not in metrics


def test_metrics_are_json_without_nan():
    json.dumps(to_metrics(_results()), allow_nan=False)
