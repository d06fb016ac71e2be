"""Super-resolution of real pictures with denoisers whose answer is known."""

import pytest
import torch

from minimagen.diffusion.cascade import CascadeStage, SamplerSettings, resize
from minimagen.diffusion.denoiser import Denoiser
from minimagen.diffusion.schedule import NoiseSchedule
from minimagen.evaluation.metrics import psnr
from minimagen.evaluation.super_resolution import colour_error, enlarge
from minimagen.seeding import generator
from minimagen.shapes import Images, SampleMask, TextEmbeds, TextMask, Timesteps

EMBEDS, MASK = torch.zeros(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)


class _LowRes:
    """Predicts the low-resolution picture it is given, noise and all."""

    def __call__(
        self,
        xt: Images,
        t: Timesteps,
        *,
        text_embeds: TextEmbeds,
        text_mask: TextMask,
        is_dropped: SampleMask | None,
        low_res: Images | None,
        low_res_level: Timesteps | None,
    ) -> Images:
        assert low_res is not None
        return low_res


def _stage(aug_level: float) -> CascadeStage:
    settings = SamplerSettings("dpmpp_2m", 3, 1.0, None, 1.0, aug_level)
    return CascadeStage("super", Denoiser(_LowRes(), NoiseSchedule("cosine"), "x0"), 8, settings)


def test_a_stage_that_repeats_its_clean_input_is_bicubic_upscaling():
    originals = torch.rand(2, 3, 8, 8) * 2 - 1

    found = enlarge(_stage(0.0), originals, 4, EMBEDS, MASK, seed=0, sample_ids=["a", "b"])

    torch.testing.assert_close(found.low_res, resize(originals, 4))
    torch.testing.assert_close(found.bicubic, resize(resize(originals, 4), 8))
    torch.testing.assert_close(found.pictures, found.bicubic, atol=5e-3, rtol=0)  # noise of log-SNR 15


def test_noise_of_the_cascade_reaches_the_stage_and_not_the_baseline():
    originals = torch.rand(2, 3, 8, 8) - 0.5

    found = enlarge(_stage(0.3), originals, 4, EMBEDS, MASK, seed=0, sample_ids=["a", "b"])

    torch.testing.assert_close(found.bicubic, resize(resize(originals, 4), 8))
    assert (psnr(found.pictures, found.bicubic) < 20).all()


def test_a_picture_keeps_its_noise_whatever_batch_it_is_in():
    originals = torch.rand(2, 3, 8, 8) - 0.5

    together = enlarge(_stage(0.3), originals, 4, EMBEDS, MASK, seed=0, sample_ids=["a", "b"])

    alone = enlarge(_stage(0.3), originals[1:], 4, EMBEDS[1:], MASK[1:], seed=0, sample_ids=["b"])
    torch.testing.assert_close(together.pictures[1:], alone.pictures)


@pytest.mark.parametrize("low_res_size", [3, 8])
def test_odd_and_equal_sizes_work(low_res_size: int):
    originals = torch.rand(1, 3, 8, 8)

    found = enlarge(_stage(0.1), originals, low_res_size, EMBEDS[:1], MASK[:1], seed=0, sample_ids=["a"])

    assert found.low_res.shape == (1, 3, low_res_size, low_res_size)
    assert found.pictures.shape == originals.shape


def test_colours_that_moved_are_told_in_levels_and_new_detail_is_not() -> None:
    low_res = torch.rand(3, 3, 8, 8, generator=generator(0)) - 0.5
    smooth = resize(torch.rand(3, 3, 8, 8, generator=generator(1)) - 0.5, 32)
    checks = 0.2 * (1 - 2 * ((torch.arange(32)[:, None] + torch.arange(32)) % 2))

    assert colour_error(smooth + 2 / 255, resize(smooth, 8)) == pytest.approx(1.0, abs=1e-3)
    assert colour_error(smooth + checks, resize(smooth, 8)) < 0.1
    assert colour_error(resize(low_res, 32), -low_res) > 50
