import pytest
import torch
from torch.testing import assert_close

from minimagen.diffusion.denoiser import Denoiser
from minimagen.diffusion.guidance import dynamic_threshold, guided_denoise, guided_x0
from minimagen.diffusion.schedule import NoiseSchedule
from minimagen.shapes import Conditioning

CAPTION = Conditioning(torch.zeros(2, 1, 2), torch.ones(2, 1, dtype=torch.bool))


class CaptionedOneElseZero:
    """Predicts x0 = 1 with its caption and 0.25 without; counts its passes."""

    def __init__(self) -> None:
        self.num_passes = 0

    def __call__(
        self, xt: torch.Tensor, t: torch.Tensor, *, is_dropped: torch.Tensor | None, **_: object
    ) -> torch.Tensor:
        self.num_passes += 1
        value = torch.ones(len(xt)) if is_dropped is None else torch.where(is_dropped, 0.25, 1.0)
        return value[:, None, None, None].expand_as(xt).contiguous()


def denoiser_of(network: CaptionedOneElseZero) -> Denoiser:
    return Denoiser(network, NoiseSchedule("cosine"), "x0")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("scale", "expected"), [(1.0, 1.0), (2.0, 1.75), (3.0, 2.5)])
def test_guidance_extrapolates_from_null_to_captioned_in_one_pass(scale: float, expected: float) -> None:
    network = CaptionedOneElseZero()

    x0 = guided_x0(denoiser_of(network), torch.zeros(2, 3, 4, 4), torch.full((2,), 0.5), CAPTION, scale)

    assert_close(x0, torch.full((2, 3, 4, 4), expected))
    assert network.num_passes == 1


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
        denoiser_of(CaptionedOneElseZero()),
        CAPTION,
        guidance_scale=9.0,
        threshold_percentile=percentile,
        threshold_cap=1.5,
    )

    assert denoise(torch.zeros(2, 3, 4, 4), torch.full((2,), 0.5)).abs().max() <= 1.0
