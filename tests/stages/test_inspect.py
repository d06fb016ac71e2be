import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from minimagen.config import ConfigError, load_params, validate_params
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
MOST_SECONDS = 60
MOST_BYTES = 2 * GIB
"""The weights of the paper's largest cascade are 9 GB, and cannot be in it."""


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


def test_the_papers_largest_cascade_is_inspected_in_a_moment_and_without_its_weights() -> None:
    told = "atexit.register(lambda: print(peak_kb(), file=sys.stderr))"
    script = f"import atexit, sys; from minimagen.cli import main; from tests.sources.own_memory import peak_kb; {told}"
    command = [sys.executable, "-c", f"{script}; main()", "inspect", "paper-512", "--json"]

    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True, timeout=MOST_SECONDS)

    report = json.loads(done.stdout)
    assert report["total_parameters"] == PAPER["paper-512"][-1]
    assert all(report["unets"][name]["gflop_forward"] > 0 for name in ("base", "super"))
    assert int(done.stderr.splitlines()[-1]) * 1024 < MOST_BYTES < 4 * report["total_parameters"]


def thousand_px() -> dict[str, Any]:
    """Returns a document of parameters: the paper's base, then Imagen's kind of super-resolution stages, in crops."""
    document = load_experiment(CHECKOUT, "paper-256").params.model_dump(mode="json")
    section, sampling = document["unets"].pop("super"), document["sampling"].pop("super")
    section["unet"]["layer_attns"] = [False, False, False]
    for name, low_res_size, image_size, crop_size in (("middle", 64, 256, 64), ("last", 256, 1024, 256)):
        document["unets"][name] = copy.deepcopy(section) | {"low_res_size": low_res_size, "image_size": image_size}
        document["unets"][name]["training"]["crop_size"] = crop_size
        document["sampling"][name] = copy.deepcopy(sampling)
    return document | {"cascade": ["base", "middle", "last"]}


def test_stages_of_256_and_1024_px_are_inspected_without_allocating_them() -> None:
    params = validate_params(thousand_px(), Path("params.yaml"))

    middle, last = (unet_cost(params.unets[name], text_dim=768) for name in ("middle", "last"))

    assert [section.image_size for section in params.unets.values()] == [64, 256, 1024]
    assert last.num_parameters == middle.num_parameters
    # 16 times the pixels, convolutions and attention to the caption being all; times and captions cost the same.
    assert last.gflop_forward / middle.gflop_forward == pytest.approx(16, rel=0.01)


@pytest.mark.parametrize(
    ("part", "change", "line"),
    [
        ("middle", {"low_res_size": 32}, "unets.middle.low_res_size: 32, expected 64 (the image_size of base before"),
        ("middle", {"image_size": 128}, "unets.last.low_res_size: 256, expected 128 (the image_size of middle before"),
        (
            "last",
            {"low_res_size": 64},
            "unets.last.low_res_size: 64, expected 256 (the image_size of middle before it)",
        ),
        ("last", {"image_size": 256}, "unets.last: low_res_size 256 is not smaller than image_size 256"),
        ("last", {"image_size": 1020}, "unets.last: image_size 1020 is not divisible by 8 = 2**3"),
    ],
)
def test_a_stage_that_does_not_start_from_the_one_before_is_refused(
    part: str, change: dict[str, object], line: str
) -> None:
    document = thousand_px()
    document["unets"][part] |= change

    with pytest.raises(ConfigError) as caught:
        validate_params(document, Path("params.yaml"))

    assert str(caught.value).startswith(f"params.yaml: {line}") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("crop_size", "has_attention", "line"),
    [
        (1024, False, "training.crop_size 1024 is not smaller than image_size 1024"),
        (100, False, "training.crop_size 100 is not divisible by 8, as image_size is"),
        (256, True, "training.crop_size 256 with self-attention"),
    ],
)
def test_crops_of_1024_px_that_cannot_be_learnt_from_are_refused(
    crop_size: int, has_attention: bool, line: str
) -> None:
    document = thousand_px()
    document["unets"]["last"]["training"]["crop_size"] = crop_size
    document["unets"]["last"]["unet"]["layer_attns"] = [False, False, has_attention]

    with pytest.raises(ConfigError, match=re.escape(f"params.yaml: unets.last: {line}")):
        validate_params(document, Path("params.yaml"))
