"""Forecasts name the nearest training on record and the time by the clock."""

import pytest
import torch

from minimagen.config import load_params
from minimagen.experiments import load_experiment
from minimagen.sources.scene_deal import deal_scene
from minimagen.text.locate import describe
from minimagen.training.cost import unet_cost
from minimagen.training.forecast import KNOWN, KNOWN_BY_HEART, MIN_STEP_S, clock, estimate_seconds, forecast
from tests.stages.tiny_project import CHECKOUT

PARAMS = load_params(CHECKOUT / "experiments/demo.yaml")


def test_the_demo_is_beside_itself_and_long_enough():
    found = forecast("base", PARAMS.unets["base"], num_parameters=2_550_787, num_steps=1500, num_pictures=2257)

    assert found.nearest.name == "the demo's base" and not found.is_short
    assert str(found).startswith("base: 48,000 pictures seen, each of 2,257 21 times; the demo's base (16 px, 2.6 M")


def test_a_short_training_is_told_to_be_short():
    found = forecast("base", PARAMS.unets["base"], num_parameters=2_550_787, num_steps=100, num_pictures=None)

    assert found.is_short and str(found).endswith("yours may be too short")
    assert "each of" not in str(found)


def test_a_long_training_on_few_pictures_is_told_where_to_begin():
    params = load_experiment(CHECKOUT, "own-folder").params
    base, upper = params.unets["base"], params.unets["super"]

    found = forecast("base", base, num_parameters=10_000_000, num_steps=10_000, num_pictures=9)
    above = forecast("super", upper, num_parameters=1_000_000, num_steps=4_000, num_pictures=48)
    lowered = forecast("base", base, num_parameters=10_000_000, num_steps=200, num_pictures=9)

    assert found.is_long and "each of 9 35,556 times; paper-scaled's base" in str(found)
    assert str(found).endswith("than so few pictures took: begin with unets.base.training.num_steps: 200")
    assert not above.is_long and above.enough == "unets.super.training.num_steps: 600"  # 400 times each, as on record
    assert not lowered.is_long and not lowered.is_short


@pytest.mark.parametrize(("num_pictures", "is_long"), [(1, True), (79, True), (81, False), (100, False), (None, False)])
def test_only_few_pictures_can_be_seen_too_often(num_pictures: int | None, is_long: bool):
    base = load_experiment(CHECKOUT, "own-folder").params.unets["base"]

    found = forecast("base", base, num_parameters=10_000_000, num_steps=10_000, num_pictures=num_pictures)

    assert found.is_long == is_long


def test_passes_are_lowered_where_the_length_is_given_in_passes():
    section = load_experiment(CHECKOUT, "paper-scaled").params.unets["base"]

    found = forecast("base", section, num_parameters=2_550_787, num_steps=40_000, num_pictures=16)

    assert found.is_long and found.enough == "unets.base.training.num_epochs: 400"


def test_a_super_resolution_network_is_compared_with_its_kind():
    found = forecast("super", PARAMS.unets["super"], num_parameters=1_059_235, num_steps=800, num_pictures=2257)

    assert found.nearest.low_res_size == 16
    assert {known.low_res_size is None for known in KNOWN} == {True, False}


@pytest.mark.parametrize(
    ("experiment", "unet", "name"),
    [
        ("demo", "base", "the demo's base"),
        ("demo", "super", "the demo's super"),
        ("scenes-relations", "base", "scenes-relations' base"),
        ("scenes-three-stages", "top", "scenes-three-stages' last"),
        ("paper-scaled", "base", "paper-scaled's base"),
        ("paper-scaled", "super", "paper-scaled's super"),
    ],
)
def test_what_is_on_record_is_what_the_experiments_are(experiment: str, unet: str, name: str):
    known = next(one for one in (*KNOWN, *KNOWN_BY_HEART) if one.name == name)
    params = load_experiment(CHECKOUT, experiment).params
    section, scenes = params.unets[unet], params.ingest.scenes
    assert scenes is not None

    cost = unet_cost(section, describe(params.text_encoder.name, params.text_encoder.revision).text_dim)
    num_dealt = sum(not deal_scene(scenes, index).is_held_out for index in range(scenes.num_scenes))

    assert (known.low_res_size, known.image_size) == (section.low_res_size, section.image_size)
    assert known.num_parameters == cost.num_parameters
    assert 0.98 * num_dealt < known.num_pictures <= num_dealt  # curate rejects those that were drawn twice


def test_time_grows_with_pictures_and_operations():
    device = torch.device("cpu")

    short, long = estimate_seconds(0.1, 1000, 100, device), estimate_seconds(10.0, 100_000, 100, device)

    assert 0.0 < 100 * short < long


def test_a_step_of_a_gpu_takes_as_long_as_its_launches(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("minimagen.training.forecast._matrix_rate", lambda device: 5e13)

    assert estimate_seconds(0.076, 9_600, 300, torch.device("cuda")) == 300 * MIN_STEP_S["cuda"]
    assert estimate_seconds(239.0, 9_600, 300, torch.device("cuda")) > 300 * MIN_STEP_S["cuda"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 seconds"), (119.0, "119 seconds"), (130.0, "2 minutes"), (7300.0, "2 hours"), (2e5, "2 days")],
)
def test_clock_speaks_in_the_usual_units(seconds: float, text: str):
    assert clock(seconds) == text
