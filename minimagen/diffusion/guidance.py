"""What stands between a denoiser and a sampler: classifier-free guidance and thresholding of the clean estimate.

Knows no sampler and no network.
"""

from collections.abc import Callable

import torch
from einops import rearrange

from minimagen.diffusion.denoiser import Denoiser
from minimagen.shapes import Conditioning, Images, Timesteps

DenoiseFn = Callable[[Images, Timesteps], Images]
"""Maps a noisy picture and its time to an estimate of the clean one."""


def dynamic_threshold(x0: Images, percentile: float, cap: float) -> Images:
    """x0 <- clip(x0, -s, s) / s with s the percentile of |x0| per picture, at least 1 (Imagen, Saharia et al. 2022,
    section 2.3) and at most ``cap``."""
    magnitudes = rearrange(x0.abs().float(), "b c h w -> b (c h w)")
    limit = torch.quantile(magnitudes, percentile, dim=1).clamp(1.0, cap)
    limit = rearrange(limit, "b -> b 1 1 1")
    return x0.clamp(-limit, limit) / limit


def _twice(conditioning: Conditioning) -> Conditioning:
    return Conditioning(
        text_embeds=torch.cat((conditioning.text_embeds, conditioning.text_embeds)),
        text_mask=torch.cat((conditioning.text_mask, conditioning.text_mask)),
        low_res=None if conditioning.low_res is None else torch.cat((conditioning.low_res, conditioning.low_res)),
        low_res_level=None
        if conditioning.low_res_level is None
        else torch.cat((conditioning.low_res_level, conditioning.low_res_level)),
    )


def guided_x0(denoiser: Denoiser, xt: Images, t: Timesteps, conditioning: Conditioning, scale: float) -> Images:
    """x0 = null + scale (captioned - null), both from one pass of twice the batch (Ho & Salimans 2022, eq. 6).

    The equation is linear, so it reads the same in x0 as in noise. Scale 1 makes the plain pass alone.
    """
    if scale == 1.0:
        return denoiser.x0(xt, t, conditioning)
    is_dropped = torch.arange(2 * len(xt), device=xt.device) >= len(xt)
    both = denoiser.x0(torch.cat((xt, xt)), torch.cat((t, t)), _twice(conditioning), is_dropped)
    captioned, null = both.chunk(2)
    return null + scale * (captioned - null)


def guided_denoise(
    denoiser: Denoiser,
    conditioning: Conditioning,
    *,
    guidance_scale: float,
    threshold_percentile: float | None,
    threshold_cap: float,
) -> DenoiseFn:
    """Returns the function that a sampler calls; its estimates lie in [-1, 1].

    Args:
        threshold_percentile: None clamps.
    """

    def denoise(xt: Images, t: Timesteps) -> Images:
        x0 = guided_x0(denoiser, xt, t, conditioning, guidance_scale)
        if threshold_percentile is None:
            return x0.clamp(-1.0, 1.0)
        return dynamic_threshold(x0, threshold_percentile, threshold_cap)

    return denoise
