"""A chain of denoisers on tensors: each stage draws its pictures from the previous stage's.

Knows no files, no text encoder and no training; the low-resolution input is made here for training and sampling alike,
so that both see the same thing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from minimagen.diffusion.denoiser import Denoiser
from minimagen.diffusion.gaussian import q_sample
from minimagen.diffusion.guidance import guided_denoise
from minimagen.diffusion.samplers import SamplerState, sample_ddpm, sample_dpmpp_2m
from minimagen.diffusion.schedule import NoiseSchedule
from minimagen.seeding import sample_noise
from minimagen.shapes import Conditioning, Images, ResizedImages, TextEmbeds, TextMask, Timesteps


def resize(images: Images, size: int) -> ResizedImages:
    """Resizes square pictures by antialiased bicubic interpolation, kept in [-1, 1]."""
    if images.shape[-1] == size:
        return images
    return torch.nn.functional.interpolate(
        images, size=(size, size), mode="bicubic", align_corners=False, antialias=True
    ).clamp(-1.0, 1.0)


def augment(low_res: Images, level: Timesteps, eps: Images, schedule: NoiseSchedule) -> Images:
    """Noise-conditioning augmentation: q_sample of the low-resolution picture, in [-1, 1] space, at diffusion time
    ``level`` of each sample (CDM, Ho et al. 2021, section 4.2; Imagen, section 2.4)."""
    return q_sample(low_res, eps, schedule.log_snr(level))


@dataclass(frozen=True, slots=True)
class SamplerSettings:
    """How one stage draws."""

    sampler: Literal["ddpm", "dpmpp_2m"]
    num_steps: int
    guidance_scale: float
    threshold_percentile: float | None
    threshold_cap: float
    aug_level: float | None


@dataclass(frozen=True, slots=True)
class CascadeStage:
    """A denoiser, the size of its pictures and how it draws them."""

    name: str
    denoiser: Denoiser
    image_size: int
    settings: SamplerSettings


def sample_stage(
    stage: CascadeStage,
    text_embeds: TextEmbeds,
    text_mask: TextMask,
    *,
    seed: int,
    sample_ids: Sequence[int | str],
    previous: ResizedImages | None = None,
) -> Iterator[SamplerState]:
    """Draws the pictures of one stage and yields every state.

    Args:
        sample_ids: one name per picture; noise comes from (seed, stage, name), drawn on CPU.
        previous: pictures of the previous stage, of its size; None for the first stage.

    Raises:
        ValueError: a stage without an augmentation level was given a previous picture, or the reverse.
    """
    shape, device = (3, stage.image_size, stage.image_size), text_embeds.device

    def noise(stream: str) -> Images:
        return sample_noise(seed, sample_ids, shape, stream=f"{stage.name} {stream}").to(device)

    conditioning = Conditioning(text_embeds, text_mask)
    if (previous is None) != (stage.settings.aug_level is None):
        raise ValueError(
            f"stage {stage.name}: aug_level {stage.settings.aug_level}, previous pictures: {previous is not None}"
        )
    if previous is not None and stage.settings.aug_level is not None:
        level = torch.full((len(previous),), stage.settings.aug_level, device=device)
        upsized = resize(previous, stage.image_size)
        conditioning = Conditioning(
            text_embeds, text_mask, augment(upsized, level, noise("low_res"), stage.denoiser.schedule), level
        )
    denoise = guided_denoise(
        stage.denoiser,
        conditioning,
        guidance_scale=stage.settings.guidance_scale,
        threshold_percentile=stage.settings.threshold_percentile,
        threshold_cap=stage.settings.threshold_cap,
    )
    xt, num_steps = noise("init"), stage.settings.num_steps
    if stage.settings.sampler == "ddpm":
        return sample_ddpm(denoise, stage.denoiser.schedule, xt, num_steps, lambda step: noise(f"step {step}"))
    return sample_dpmpp_2m(denoise, stage.denoiser.schedule, xt, num_steps)


def last_state(states: Iterator[SamplerState]) -> Images:
    """Runs a sampler to its end and returns the pictures, in [-1, 1].

    Raises:
        ValueError: the sampler yielded no state.
    """
    xt = None
    for state in states:
        xt = state.xt
    if xt is None:
        raise ValueError("a sampler of no steps draws nothing")
    return xt.clamp(-1.0, 1.0)


@torch.inference_mode()
def sample_cascade(
    stages: Sequence[CascadeStage],
    text_embeds: TextEmbeds,
    text_mask: TextMask,
    *,
    seed: int,
    sample_ids: Sequence[int | str],
) -> list[Images]:
    """Draws a picture per caption through all stages and returns each stage's pictures, the base's first."""
    pictures: list[Images] = []
    previous: Images | None = None
    for stage in stages:
        states = sample_stage(stage, text_embeds, text_mask, seed=seed, sample_ids=sample_ids, previous=previous)
        previous = last_state(states)
        pictures.append(previous)
    return pictures
