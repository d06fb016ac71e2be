import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from minimagen.config import UNetSection, load_params
from minimagen.experiments import load_experiment
from minimagen.stages.inspect import UNetCost, cost_table, run_inspect, unet_cost
from minimagen.training.memory import GIB

CHECKOUT = Path(__file__).parents[2]
DEMO = load_params(CHECKOUT / "experiments/demo.yaml")
PAPER = {
    "paper-8": (106_163, 158_147, 264_310),
    "paper-256": (215_380_227, 181_185_411, 396_565_638),
    "paper-512": (1_618_466_051, 715_760_003, 2_334_226_054),
}


def test_json_has_every_stage_and_their_sum(capsys: pytest.CaptureFixture[str]) -> None:
    run_inspect(DEMO, as_json=True)

    report = json.loads(capsys.readouterr().out)
    assert list(report["unets"]) == list(DEMO.cascade)
    assert report["total_parameters"] == sum(unet["num_parameters"] for unet in report["unets"].values())
    assert report["text_encoder"] == {"name": "tiny", "text_dim": 128, "max_length": 64}


def test_the_table_names_every_stage(capsys: pytest.CaptureFixture[str]) -> None:
    run_inspect(DEMO, as_json=False)

    assert "16 -> 64 px" in capsys.readouterr().out


def test_each_training_stands_beside_one_on_record_and_has_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    run_inspect(DEMO, as_json=False)
    run_inspect(load_experiment(CHECKOUT, "paper-8").params, as_json=False)

    lines = capsys.readouterr().out.splitlines()
    (base,) = (line for line in lines if line.startswith("base: 48,000 pictures seen"))
    assert "the demo's base" in base and base.endswith(" on this machine") and "too short" not in base
    passes = "base: 200 passes over the training pictures, however many there will be"
    assert any(line.startswith(passes) for line in lines)


def test_a_training_of_epochs_has_its_time_once_the_pictures_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    run_inspect(load_experiment(CHECKOUT, "paper-scaled").params, as_json=False, num_pictures=16)

    (base,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("base:"))
    assert base.startswith("base: 6,400 pictures seen, each of 16 400 times; paper-scaled's base (16 px")
    assert base.endswith(" on this machine")


def test_flops_of_a_convolution_are_counted_as_two_per_multiply_add() -> None:
    small = unet_cost(DEMO.unets["base"], text_dim=128)
    larger = unet_cost(DEMO.unets["base"].model_copy(update={"image_size": 32}), text_dim=128)

    # four times the pixels: convolutions grow fourfold, attention among pixels sixteenfold, the caption not at all
    assert 3 < larger.gflop_forward / small.gflop_forward < 8
    assert small.memory_bytes == 20 * small.num_parameters


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_cascades_have_exactly_their_parameters(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    run_inspect(load_experiment(CHECKOUT, name).params, as_json=True)

    report = json.loads(capsys.readouterr().out)
    counts = [unet["num_parameters"] for unet in report["unets"].values()]
    assert (*counts, report["total_parameters"]) == PAPER[name]
    assert report["text_encoder"] == {"name": "t5-base", "text_dim": 768, "max_length": 64}


def test_a_stage_fits_where_its_training_has_room(capsys: pytest.CaptureFixture[str]) -> None:
    costs = {"base": UNetCost(2 * 10**9, 1.0, 0), "super": UNetCost(10**6, 1.0, 0)}
    for free, answers in ((70 * GIB, ["yes", "yes"]), (30 * GIB, ["no", "yes"]), (None, ["unknown"] * 2)):
        Console(width=120).print(cost_table(DEMO, costs, torch.device("cpu"), free))

        rows = [line for line in capsys.readouterr().out.splitlines() if " px " in line]
        assert [row.split()[-2] for row in rows] == answers


def super_resolution(low_res_size: int, image_size: int) -> UNetSection:
    """Returns Imagen's kind of super-resolution stage: an Efficient U-Net without self-attention."""
    section = load_experiment(CHECKOUT, "paper-256").params.unets["super"]
    unet = section.unet.model_copy(update={"layer_attns": (False, False, False)})
    return section.model_copy(update={"low_res_size": low_res_size, "image_size": image_size, "unet": unet})


def test_stages_of_256_and_1024_px_are_inspected_without_allocating_them() -> None:
    middle, last = (unet_cost(super_resolution(*sizes), text_dim=768) for sizes in ((64, 256), (256, 1024)))

    assert last.num_parameters == middle.num_parameters
    # 16 times the pixels, convolutions and attention to the caption being all; times and captions cost the same.
    assert last.gflop_forward / middle.gflop_forward == pytest.approx(16, rel=0.01)
