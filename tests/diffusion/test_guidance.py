from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from minimagen.diffusion.denoiser import Denoiser, Network
from minimagen.diffusion.guidance import Interval, both_halves, dynamic_threshold, guided_denoise, guided_x0
from minimagen.diffusion.schedule import NoiseSchedule
from minimagen.shapes import Conditioning
from tests.diffusion.test_cascade import sample_cascade, texts, unet_stages

CAPTION = Conditioning(torch.full((2, 3, 2), 0.7), torch.ones(2, 3, dtype=torch.bool))
XT = torch.zeros(2, 3, 4, 4)
HALF_TIME = torch.full((2,), 0.5)


class CaptionMean:
    """Predicts x0 = the mean of its caption's tokens, 0.25 without caption; remembers the sizes of its batches."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(
        self,
        xt: torch.Tensor,
        t: torch.Tensor,
        *,
        text_embeds: torch.Tensor,
        text_mask: torch.Tensor,
        is_dropped: torch.Tensor | None,
        **_: object,
    ) -> torch.Tensor:
        self.batches.append(len(xt))
        weight = text_mask[..., None].float()
        value = (text_embeds * weight).sum((1, 2)) / weight.expand_as(text_embeds).sum((1, 2))
        if is_dropped is not None:
            value = torch.where(is_dropped, 0.25, value)
        return value[:, None, None, None].expand_as(xt).contiguous()


def denoiser_of(network: CaptionMean) -> Denoiser:
    return Denoiser(network, NoiseSchedule("cosine"), "x0")  # pyright: ignore[reportArgumentType]


def estimate(
    network: CaptionMean,
    scale: float,
    t: torch.Tensor = HALF_TIME,
    *,
    interval: Interval | None = None,
    negative: Conditioning | None = None,
) -> torch.Tensor:
    denoise = guided_denoise(
        denoiser_of(network),
        CAPTION,
        guidance_scale=scale,
        threshold_percentile=None,
        threshold_cap=1.0,
        interval=interval,
        negative=negative,
    )
    return denoise(XT, t)


@pytest.mark.parametrize(("scale", "expected"), [(1.0, 0.7), (1.5, 0.925), (3.0, 1.6)])
def test_guidance_extrapolates_from_null_to_captioned_in_one_pass(scale: float, expected: float) -> None:
    network = CaptionMean()

    x0 = guided_x0(denoiser_of(network), XT, HALF_TIME, both_halves(CAPTION), scale)

    assert_close(x0, torch.full_like(XT, expected))
    assert network.batches == [4]


def test_without_guidance_the_null_half_is_not_computed() -> None:
    network = CaptionMean()

    assert_close(estimate(network, 1.0), torch.full_like(XT, 0.7))
    assert network.batches == [2]


@pytest.mark.parametrize(("t", "is_guided"), [(0.19, False), (0.2, True), (0.5, True), (0.8, True), (0.81, False)])
def test_outside_the_interval_the_null_half_is_not_computed(t: float, is_guided: bool) -> None:
    network = CaptionMean()

    x0 = estimate(network, 1.5, torch.full((2,), t), interval=(0.2, 0.8))

    assert_close(x0, torch.full_like(XT, 0.925 if is_guided else 0.7))
    assert network.batches == [4 if is_guided else 2]


def test_an_interval_of_all_times_changes_no_bit() -> None:
    for t in (0.0, 0.5, 1.0):
        at = torch.full((2,), t)
        guided, limited = (estimate(CaptionMean(), 1.5, at, interval=ends) for ends in (None, (0.0, 1.0)))
        assert torch.equal(guided, limited)


@pytest.mark.parametrize("num_tokens", [1, 3, 5])
def test_a_negative_caption_stands_in_for_none(num_tokens: int) -> None:
    network = CaptionMean()
    negative = Conditioning(torch.full((1, num_tokens, 2), 0.5), torch.ones(1, num_tokens, dtype=torch.bool))

    assert_close(estimate(network, 2.0, negative=negative), torch.full_like(XT, 0.5 + 2.0 * (0.7 - 0.5)))
    assert network.batches == [4]


def test_the_caption_itself_as_the_negative_one_is_no_guidance() -> None:
    negative = Conditioning(CAPTION.text_embeds[:1], CAPTION.text_mask[:1])

    assert_close(estimate(CaptionMean(), 7.0, negative=negative), estimate(CaptionMean(), 1.0), rtol=0, atol=0)


def test_both_halves_start_from_the_same_picture() -> None:
    low_res, level = torch.rand(2, 3, 4, 4), torch.tensor([0.1, 0.2])

    both = both_halves(Conditioning(CAPTION.text_embeds, CAPTION.text_mask, low_res, level))

    assert both.conditioning.low_res is not None and both.conditioning.low_res_level is not None
    assert torch.equal(both.conditioning.low_res, torch.cat((low_res, low_res)))
    assert both.conditioning.low_res_level.tolist() == [*level.tolist(), *level.tolist()]
    assert both.is_dropped is not None and both.is_dropped.tolist() == [False, False, True, True]


def test_threshold_leaves_pictures_in_range_alone() -> None:
    x0 = torch.rand(2, 3, 4, 4) * 2 - 1

    assert_close(dynamic_threshold(x0, 0.995, 1.5), x0)


def test_threshold_divides_by_the_percentile_up_to_the_cap() -> None:
    x0 = torch.linspace(-1.2, 1.2, 48).reshape(1, 3, 4, 4)

    at_percentile, at_cap = dynamic_threshold(x0, 1.0, 1.5), dynamic_threshold(x0 * 10, 1.0, 1.5)

    assert_close(at_percentile, x0 / 1.2)
    assert_close(at_cap, (x0 * 10).clamp(-1.5, 1.5) / 1.5)


@pytest.mark.parametrize("percentile", [None, 0.9])
def test_estimates_lie_in_range_whatever_the_scale(percentile: float | None) -> None:
    denoise = guided_denoise(
        denoiser_of(CaptionMean()),
        CAPTION,
        guidance_scale=9.0,
        threshold_percentile=percentile,
        threshold_cap=1.5,
    )

    assert denoise(XT, HALF_TIME).abs().max() <= 1.0


class Sizes:
    """Passes on to a network and remembers of how many pictures each of its passes was."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.seen: list[int] = []

    def __call__(self, xt: torch.Tensor, t: torch.Tensor, **conditioning: torch.Tensor | None) -> torch.Tensor:
        self.seen.append(len(xt))
        return self.network(xt, t, **conditioning)  # pyright: ignore[reportArgumentType]


def test_each_stage_is_guided_by_its_own_scale() -> None:
    """Without guidance a pass is of as many pictures as there are captions, with it of twice as many, in one."""

    def drawn(*scales: float) -> tuple[list[torch.Tensor], list[list[int]]]:
        chain = [
            replace(one, settings=replace(one.settings, guidance_scale=scale))
            for one, scale in zip(unet_stages("dpmpp_2m", guidance_interval=None), scales, strict=True)
        ]
        spies = [Sizes(one.denoiser.network) for one in chain]
        chain = [
            replace(one, denoiser=replace(one.denoiser, network=spy)) for one, spy in zip(chain, spies, strict=True)
        ]
        return sample_cascade(chain, *texts(2), seed=0, sample_ids="ab"), [spy.seen for spy in spies]

    (base, top), sizes = drawn(1.0, 2.0)
    (plain_base, plain_top), plain_sizes = drawn(1.0, 1.0)
    (guided_base, guided_top), guided_sizes = drawn(2.0, 2.0)

    assert (sizes, plain_sizes, guided_sizes) == ([[2] * 3, [4] * 3], [[2] * 3] * 2, [[4] * 3] * 2)
    assert torch.equal(base, plain_base)
    assert all((one - other).abs().max() > 1e-3 for one, other in ((base, guided_base), (top, plain_top)))
    assert (top - guided_top).abs().max() > 1e-3
