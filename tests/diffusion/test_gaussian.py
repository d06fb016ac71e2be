import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from minimagen.diffusion.gaussian import (
    Target,
    alpha_sigma,
    angle,
    eps_from_x0,
    q_sample,
    target_of,
    v_from_x0,
    x0_from,
)

TARGETS: tuple[Target, ...] = ("eps", "x0", "v")


def pictures(batch: int = 5, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    x0 = torch.rand(batch, 3, 4, 4, generator=draw, dtype=dtype) * 2 - 1
    return x0, torch.randn(batch, 3, 4, 4, generator=draw, dtype=dtype)


def test_alpha_and_sigma_are_on_the_unit_circle() -> None:
    alpha, sigma = alpha_sigma(torch.linspace(-15, 15, 31))

    assert_close(alpha**2 + sigma**2, torch.ones(31, 1, 1, 1), rtol=0, atol=1e-6)
    assert_close((alpha**2 / sigma**2).log().flatten(), torch.linspace(-15, 15, 31), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("target", TARGETS)
@given(log_snr=st.lists(st.floats(-15.0, 15.0), min_size=5, max_size=5))
@example(log_snr=[-15.0, -14.0, 0.0, 14.0, 15.0])
@settings(max_examples=50, deadline=None, derandomize=True)
def test_every_target_leads_back_to_the_picture_over_the_whole_range(target: Target, log_snr: list[float]) -> None:
    (x0, eps), at = pictures(), torch.tensor(log_snr, dtype=torch.float64)
    xt = q_sample(x0, eps, at)

    prediction = target_of(target, x0, eps, at)

    assert_close(x0_from(target, prediction, xt, at), x0, rtol=0, atol=1e-12)


@given(log_snr=st.lists(st.floats(-15.0, 15.0), min_size=5, max_size=5))
@example(log_snr=[-15.0, -14.0, 0.0, 14.0, 15.0])
@settings(max_examples=50, deadline=None, derandomize=True)
def test_picture_and_noisy_picture_tell_noise_and_velocity_over_the_whole_range(log_snr: list[float]) -> None:
    (x0, eps), at = pictures(), torch.tensor(log_snr, dtype=torch.float64)
    xt = q_sample(x0, eps, at)

    assert_close(eps_from_x0(x0, xt, at), eps, rtol=0, atol=1e-12)
    assert_close(v_from_x0(x0, xt, at), target_of("v", x0, eps, at), rtol=0, atol=1e-12)


@given(log_snr=st.lists(st.floats(-40.0, 40.0), min_size=5, max_size=5))
@example(log_snr=[-40.0, -17.0, 0.0, 17.0, 40.0])
@settings(max_examples=50, deadline=None, derandomize=True)
def test_beyond_the_range_every_way_back_keeps_the_digits_of_the_larger_term(log_snr: list[float]) -> None:
    """A law that is shifted goes further than 15. There 1e-12 cannot be kept: what is divided by alpha or sigma is a
    difference of numbers of about 1, rounded at 1e-16, and exp(-17 / 2) makes 1e-12 of that. What can be kept is the
    rounding of the larger of the terms, each divided."""
    (x0, eps), at = pictures(), torch.tensor(log_snr, dtype=torch.float64)
    xt, (alpha, sigma) = q_sample(x0, eps, at), alpha_sigma(at)
    v = target_of("v", x0, eps, at)

    ways = {
        "x0 from eps": (x0_from("eps", eps, xt, at), x0, sigma * eps / alpha),
        "x0 from v": (x0_from("v", v, xt, at), x0, eps),
        "eps": (eps_from_x0(x0, xt, at), eps, alpha * x0 / sigma),
        "v": (v_from_x0(x0, xt, at), v, x0 / sigma),
    }

    for name, (found, wanted, term) in ways.items():
        larger = torch.maximum(wanted.abs(), term.abs())
        assert_close(found / larger, wanted / larger, rtol=0, atol=4e-15, msg=name)


@pytest.mark.parametrize("target", TARGETS)
def test_in_fp32_the_picture_comes_back_over_the_whole_range(target: Target) -> None:
    (x0, eps), at = pictures(dtype=torch.float32), torch.linspace(-15, 15, 5)

    back = x0_from(target, target_of(target, x0, eps, at), q_sample(x0, eps, at), at)

    assert_close(back, x0, rtol=0, atol=1e-3 if target == "eps" else 2e-6)


@pytest.mark.parametrize("target", ["x0", "v"])
def test_where_no_signal_is_left_the_picture_still_comes_back(target: Target) -> None:
    (x0, eps), at = pictures(), torch.full((5,), -math.inf, dtype=torch.float64)

    xt, wanted = q_sample(x0, eps, at), target_of(target, x0, eps, at)

    assert_close(xt, eps, rtol=0, atol=0)
    assert_close(wanted, x0 if target == "x0" else -x0, rtol=0, atol=0)
    assert_close(x0_from(target, wanted, xt, at), x0, rtol=0, atol=0)
    assert_close(eps_from_x0(x0, xt, at), eps, rtol=0, atol=0)
    assert_close(v_from_x0(x0, xt, at), -x0, rtol=0, atol=0)


def test_the_velocity_is_how_the_noisy_picture_moves_with_the_angle() -> None:
    x0, eps = pictures(1)
    angles = torch.tensor([0.4, 0.4 + 1e-6], dtype=torch.float64)
    log_snr = -2.0 * angles.tan().log()

    before, after = (q_sample(x0, eps, log_snr[index : index + 1]) for index in (0, 1))

    assert_close(angle(log_snr).flatten(), angles, rtol=0, atol=1e-14)
    assert_close((after - before) / 1e-6, target_of("v", x0, eps, log_snr[:1]), rtol=0, atol=1e-5)


def test_the_angle_ends_at_zero_and_a_quarter_turn() -> None:
    ends = angle(torch.tensor([math.inf, -math.inf], dtype=torch.float64)).flatten()

    np.testing.assert_array_equal(ends.numpy(), [0.0, math.pi / 2])


def test_q_sample_at_its_ends_is_picture_and_noise() -> None:
    x0, eps = pictures(1, torch.float32)

    assert_close(q_sample(x0, eps, torch.tensor([30.0])), x0, rtol=0, atol=1e-5)
    assert_close(q_sample(x0, eps, torch.tensor([-30.0])), eps, rtol=0, atol=1e-5)
