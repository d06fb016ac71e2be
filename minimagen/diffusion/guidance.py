"""What stands between a denoiser and a sampler: classifier-free guidance and thresholding of the clean estimate.

Knows no sampler and no network.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import rearrange, repeat

from minimagen.diffusion.denoiser import Denoiser
from minimagen.shapes import Conditioning, Images, SampleMask, Timesteps

DenoiseFn = Callable[[Images, Timesteps], Images]
"""Maps a noisy picture and its time, one for the whole batch, to an estimate of the clean picture."""
Interval = tuple[float, float]
"""A stretch of diffusion time, both ends in it."""


def dynamic_threshold(x0: Images, percentile: float, cap: float) -> Images:
    """x0 <- clip(x0, -s, s) / s with s the percentile of |x0| per picture, at least 1 (Imagen, Saharia et al. 2022,
    section 2.3) and at most ``cap``."""
    magnitudes = rearrange(x0.abs().float(), "b c h w -> b (c h w)")
    limit = torch.quantile(magnitudes, percentile, dim=1).clamp(1.0, cap)
    limit = rearrange(limit, "b -> b 1 1 1")
    return x0.clamp(-limit, limit) / limit


def is_within(t: Timesteps, interval: Interval) -> SampleMask:
    """Tells which times lie in the interval, in the precision of ``t``."""
    low, high = interval
    return (t >= low) & (t <= high)


@dataclass(frozen=True, slots=True)
class BothHalves:
    """The conditioning of a pass of twice the batch: captioned first, then what guidance leads away from."""

    conditioning: Conditioning
    is_dropped: SampleMask | None
    """True in the second half; None where it has a caption of its own."""


def both_halves(captioned: Conditioning, negative: Conditioning | None = None) -> BothHalves:
    """Lays out both halves of guided passes.

    Args:
        negative: text of one negative caption, a batch of one, that stands in for no caption.
    """
    num_samples = len(captioned.text_mask)
    positions = torch.arange(2 * num_samples, device=captioned.text_mask.device)
    other = captioned if negative is None else _for_each(negative, num_samples)
    num_tokens = max(captioned.text_mask.shape[1], other.text_mask.shape[1])
    texts = [_padded_to(num_tokens, one) for one in (captioned, other)]
    stacked = Conditioning(
        text_embeds=torch.cat([text.text_embeds for text in texts]),
        text_mask=torch.cat([text.text_mask for text in texts]),
        low_res=None if captioned.low_res is None else torch.cat((captioned.low_res, captioned.low_res)),
        low_res_level=None
        if captioned.low_res_level is None
        else torch.cat((captioned.low_res_level, captioned.low_res_level)),
    )
    return BothHalves(stacked, positions >= num_samples if negative is None else None)


def _for_each(negative: Conditioning, num_samples: int) -> Conditioning:
    return Conditioning(
        repeat(negative.text_embeds, "1 n d -> b n d", b=num_samples),
        repeat(negative.text_mask, "1 n -> b n", b=num_samples),
    )


def _padded_to(num_tokens: int, text: Conditioning) -> Conditioning:
    missing = num_tokens - text.text_mask.shape[1]
    pad = torch.nn.functional.pad
    return Conditioning(pad(text.text_embeds, (0, 0, 0, missing)), pad(text.text_mask, (0, missing)))


def guided_x0(denoiser: Denoiser, xt: Images, t: Timesteps, both: BothHalves, scale: float) -> Images:
    """x0 = null + scale (captioned - null), both from one pass of twice the batch (Ho & Salimans 2022, eq. 6).

    The equation is linear, so it reads the same in x0 as in noise.
    """
    estimates = denoiser.x0(torch.cat((xt, xt)), torch.cat((t, t)), both.conditioning, both.is_dropped)
    captioned, null = estimates.chunk(2)
    return null + scale * (captioned - null)


def guided_denoise(
    denoiser: Denoiser,
    conditioning: Conditioning,
    *,
    guidance_scale: float,
    threshold_percentile: float | None,
    threshold_cap: float,
    interval: Interval | None = None,
    negative: Conditioning | None = None,
) -> DenoiseFn:
    """Returns the function that a sampler calls; its estimates lie in [-1, 1].

    Args:
        guidance_scale: 1 makes plain captioned passes.
        threshold_percentile: None clamps.
        interval: times with guidance; elsewhere the plain captioned pass is all that is computed (Kynkaanniemi et al.
            2024). None is all of them.
        negative: text of one negative caption, a batch of one, that stands in for no caption.
    """
    both = None if guidance_scale == 1.0 else both_halves(conditioning, negative)

    def estimate(xt: Images, t: Timesteps) -> Images:
        if both is None or (interval is not None and not is_within(t[:1], interval).item()):
            return denoiser.x0(xt, t, conditioning)
        return guided_x0(denoiser, xt, t, both, guidance_scale)

    def denoise(xt: Images, t: Timesteps) -> Images:
        x0 = estimate(xt, t)
        if threshold_percentile is None:
            return x0.clamp(-1.0, 1.0)
        return dynamic_threshold(x0, threshold_percentile, threshold_cap)

    return denoise
