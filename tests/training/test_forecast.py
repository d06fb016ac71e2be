"""Forecasts name the nearest training on record and the time by the clock."""

import pytest
import torch

from minimagen.config import load_params
from minimagen.training.forecast import KNOWN, clock, estimate_seconds, forecast
from tests.stages.tiny_project import CHECKOUT

PARAMS = load_params(CHECKOUT / "experiments/demo.yaml")


def test_the_demo_is_beside_itself_and_long_enough():
    found = forecast("base", PARAMS.unets["base"], num_parameters=2_550_787, num_steps=1500, num_pictures=2304)

    assert found.nearest.name == "the demo's base" and not found.is_short
    assert str(found).startswith("base: 48,000 pictures seen, each of 2,304 21 times; the demo's base (16 px, 2.6 M")


def test_a_short_training_is_told_to_be_short():
    found = forecast("base", PARAMS.unets["base"], num_parameters=2_550_787, num_steps=100, num_pictures=None)

    assert found.is_short and str(found).endswith("yours may be too short")
    assert "each of" not in str(found)


def test_a_super_resolution_network_is_compared_with_its_kind():
    found = forecast("super", PARAMS.unets["super"], num_parameters=1_059_235, num_steps=800, num_pictures=2304)

    assert found.nearest.low_res_size == 16
    assert {known.low_res_size is None for known in KNOWN} == {True, False}


def test_time_grows_with_pictures_and_operations():
    device = torch.device("cpu")

    short, long = estimate_seconds(0.1, 1000, device), estimate_seconds(10.0, 100_000, device)

    assert 0.0 < 100 * short < long


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 seconds"), (119.0, "119 seconds"), (130.0, "2 minutes"), (7300.0, "2 hours"), (2e5, "2 days")],
)
def test_clock_speaks_in_the_usual_units(seconds: float, text: str):
    assert clock(seconds) == text
