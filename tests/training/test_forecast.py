"""Forecasts name the nearest training on record and the time by the clock."""

import pytest
import torch

from minimagen.config import load_params
from minimagen.experiments import load_experiment
from minimagen.sources.scene_deal import deal_scene
from minimagen.text.locate import describe
from minimagen.training.cost import unet_cost
from minimagen.training.forecast import KNOWN, MIN_STEP_S, clock, estimate_seconds, forecast
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
    ],
)
def test_what_is_on_record_is_what_the_experiments_are(experiment: str, unet: str, name: str):
    known = next(one for one in KNOWN if one.name == name)
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
