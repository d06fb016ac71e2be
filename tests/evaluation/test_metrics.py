"""PSNR, paired intervals and shares against closed forms, numpy and scipy."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from minimagen.evaluation.metrics import PairedInterval, paired_interval, psnr, share_of


def test_psnr_of_a_constant_error_is_the_closed_form():
    originals = torch.zeros(2, 3, 5, 7)
    pictures = torch.stack([torch.full((3, 5, 7), 0.1), torch.full((3, 5, 7), -0.5)])

    scores = psnr(pictures, originals)

    expected = torch.tensor([20 * math.log10(2 / 0.1), 20 * math.log10(2 / 0.5)], dtype=torch.float64)
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)


def test_psnr_is_the_usual_one_of_8_bit_pictures():
    random = np.random.default_rng(0)
    left, right = (random.integers(0, 256, (1, 3, 8, 9)).astype(np.float64) for _ in range(2))

    score = psnr(torch.tensor(left / 127.5 - 1), torch.tensor(right / 127.5 - 1))

    expected = 10 * np.log10(255**2 / np.mean((left - right) ** 2))
    torch.testing.assert_close(score, torch.tensor([expected]), atol=1e-9, rtol=0)


def test_psnr_of_each_picture_ignores_its_batch():
    pictures, originals = torch.rand(4, 3, 6, 6), torch.rand(4, 3, 6, 6)

    together = psnr(pictures, originals)

    alone = torch.cat([psnr(pictures[[i]], originals[[i]]) for i in range(4)])
    torch.testing.assert_close(together, alone, atol=0, rtol=0)


def test_psnr_of_an_exact_picture_is_finite_and_that_of_rounding():
    picture = torch.rand(1, 3, 4, 4)

    score = psnr(picture, picture)

    torch.testing.assert_close(
        score, torch.tensor([10 * math.log10(12 * 255**2)], dtype=torch.float64), atol=1e-9, rtol=0
    )


def test_psnr_of_different_shapes_is_refused():
    with pytest.raises(ValueError, match=r"\(1, 3, 4, 4\).*\(1, 3, 8, 8\)"):
        psnr(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 8, 8))


def test_paired_interval_agrees_with_scipys_bootstrap():
    random = np.random.default_rng(1)
    scores, baseline = random.normal(3.0, 1.0, 80), random.normal(2.0, 1.0, 80)

    found = paired_interval(torch.tensor(scores), torch.tensor(baseline), torch.Generator().manual_seed(0))

    oracle = stats.bootstrap((scores - baseline,), np.mean, n_resamples=5000, method="percentile", rng=random)
    assert found.mean == pytest.approx(np.mean(scores - baseline))
    assert found.low == pytest.approx(oracle.confidence_interval.low, abs=0.02)
    assert found.high == pytest.approx(oracle.confidence_interval.high, abs=0.02)


def test_paired_interval_of_a_constant_difference_has_no_width():
    baseline = torch.tensor([1.0, 5.0, 2.0])

    found = paired_interval(baseline + 0.5, baseline, torch.Generator().manual_seed(0), num_resamples=50)

    assert found == PairedInterval(mean=0.5, low=0.5, high=0.5)


def test_paired_interval_is_a_function_of_its_generator():
    scores, baseline = torch.randn(20), torch.randn(20)

    runs = [paired_interval(scores, baseline, torch.Generator().manual_seed(7)) for _ in range(2)]

    assert runs[0] == runs[1]


@pytest.mark.parametrize(("num_scores", "num_baselines"), [(2, 3), (0, 0)])
def test_paired_interval_without_pairs_is_refused(num_scores: int, num_baselines: int):
    with pytest.raises(ValueError, match=f"{num_scores} scores and {num_baselines} baselines"):
        paired_interval(torch.zeros(num_scores), torch.zeros(num_baselines), torch.Generator())


@pytest.mark.parametrize(("num_right", "num_total"), [(0, 5), (5, 5), (138, 144), (1, 1)])
def test_share_interval_agrees_with_scipys_wilson_interval(num_right: int, num_total: int):
    share = share_of(num_right, num_total)

    oracle = stats.binomtest(num_right, num_total).proportion_ci(method="wilson")
    assert share.value == num_right / num_total
    assert share.low == pytest.approx(oracle.low, abs=1e-6)
    assert share.high == pytest.approx(oracle.high, abs=1e-6)


@pytest.mark.parametrize(("num_right", "num_total"), [(0, 0), (3, 2), (-1, 2)])
def test_impossible_share_is_refused(num_right: int, num_total: int):
    with pytest.raises(ValueError, match=f"{num_right} of {num_total}"):
        share_of(num_right, num_total)
