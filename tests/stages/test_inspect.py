import json
from pathlib import Path

import pytest

from minimagen.config import load_params
from minimagen.stages.inspect import run_inspect, unet_cost

DEMO = load_params(Path(__file__).parents[2] / "experiments/demo.yaml")


def test_json_has_every_stage_and_their_sum(capsys: pytest.CaptureFixture[str]) -> None:
    run_inspect(DEMO, as_json=True)

    report = json.loads(capsys.readouterr().out)
    assert list(report["unets"]) == list(DEMO.cascade)
    assert report["total_parameters"] == sum(unet["num_parameters"] for unet in report["unets"].values())
    assert report["text_encoder"] == {"name": "tiny", "text_dim": 128, "max_length": 64}


def test_the_table_names_every_stage(capsys: pytest.CaptureFixture[str]) -> None:
    run_inspect(DEMO, as_json=False)

    assert "16 -> 64 px" in capsys.readouterr().out


def test_flops_of_a_convolution_are_counted_as_two_per_multiply_add() -> None:
    small = unet_cost(DEMO.unets["base"], text_dim=128)
    larger = unet_cost(DEMO.unets["base"].model_copy(update={"image_size": 32}), text_dim=128)

    # four times the pixels: convolutions grow fourfold, attention among pixels sixteenfold, the caption not at all
    assert 3 < larger.gflop_forward / small.gflop_forward < 8
    assert small.memory_bytes == 20 * small.num_parameters
