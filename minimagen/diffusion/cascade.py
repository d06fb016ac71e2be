"""A chain of denoisers on tensors: each stage draws its pictures from the previous stage's.

Knows no files, no text encoder and no training; the low-resolution input is made here for training and sampling alike,
so that both see the same thing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from minimagen.diffusion.consistency import agreeing
from minimagen.diffusion.denoiser import Denoiser
from minimagen.diffusion.gaussian import q_sample
from minimagen.diffusion.guidance import DenoiseFn, Interval, guided_denoise, is_within
from minimagen.diffusion.samplers import (
    NoiseFn,
    Sampler,
    SamplerState,
    evaluation_times,
    sample_ddim,
    sample_ddpm,
    sample_dpmpp_2m,
    sample_heun,
)
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

    sampler: Sampler
    num_steps: int
    guidance_scale: float
    threshold_percentile: float | None
    threshold_cap: float
    aug_level: float | None
    guidance_interval: Interval | None = None
    """Diffusion times with guidance; None is all of them."""
    low_frequency_consistency: bool = False
    """Whether estimates have to shrink to the previous stage's picture."""

    @property
    def num_evaluations(self) -> int:
        """Forward passes per picture; a guided estimate takes two."""
        times = evaluation_times(self.sampler, self.num_steps)
        if self.guidance_scale == 1.0:
            return len(times)
        return len(times) + int(is_within(times, self.guidance_interval or (0.0, 1.0)).sum())


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
    negative: Conditioning | None = None,
) -> Iterator[SamplerState]:
    """Draws the pictures of one stage and yields every state.

    Args:
        sample_ids: one name per picture; noise comes from (seed, stage, name), drawn on CPU.
        previous: pictures of the previous stage, of its size; None for the first stage.
        negative: text of one negative caption, a batch of one; a stage without guidance does not look at it.

    Raises:
        ValueError: a stage that starts from a picture was given none, or the reverse.
    """
    settings, device = stage.settings, text_embeds.device
    shape = (3, stage.image_size, stage.image_size)

    def noise(stream: str) -> Images:
        return sample_noise(seed, sample_ids, shape, stream=f"{stage.name} {stream}").to(device)

    conditioning = Conditioning(text_embeds, text_mask)
    _check_previous(stage, previous)
    if previous is not None and settings.aug_level is not None:
        level = torch.full((len(previous),), settings.aug_level, device=device)
        upsized = resize(previous, stage.image_size)
        conditioning = Conditioning(
            text_embeds, text_mask, augment(upsized, level, noise("low_res"), stage.denoiser.schedule), level
        )
    denoise = guided_denoise(
        stage.denoiser,
        conditioning,
        guidance_scale=settings.guidance_scale,
        threshold_percentile=settings.threshold_percentile,
        threshold_cap=settings.threshold_cap,
        interval=settings.guidance_interval,
        negative=negative,
    )
    if previous is not None and settings.low_frequency_consistency:
        denoise = agreeing(denoise, previous, stage.image_size)
    return _states(stage, denoise, noise("init"), lambda step: noise(f"step {step}"))


def _check_previous(stage: CascadeStage, previous: ResizedImages | None) -> None:
    settings = stage.settings
    if (previous is None) != (settings.aug_level is None):
        raise ValueError(
            f"stage {stage.name}: aug_level {settings.aug_level}, previous pictures: {previous is not None}"
        )
    if previous is None and settings.low_frequency_consistency:
        raise ValueError(f"stage {stage.name}: low_frequency_consistency without a previous picture to agree with")


def _states(stage: CascadeStage, denoise: DenoiseFn, xt: Images, noise_of: NoiseFn) -> Iterator[SamplerState]:
    schedule, num_steps = stage.denoiser.schedule, stage.settings.num_steps
    match stage.settings.sampler:
        case "ddpm":
            return sample_ddpm(denoise, schedule, xt, num_steps, noise_of)
        case "ddim":
            return sample_ddim(denoise, schedule, xt, num_steps)
        case "dpmpp_2m":
            return sample_dpmpp_2m(denoise, schedule, xt, num_steps)
        case "heun":
            return sample_heun(denoise, schedule, xt, num_steps)


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


@dataclass(frozen=True, slots=True)
class CascadeState:
    """A point on the way through all stages."""

    stage: str
    state: SamplerState


@torch.inference_mode()
def walk_cascade(
    stages: Sequence[CascadeStage],
    text_embeds: TextEmbeds,
    text_mask: TextMask,
    *,
    seed: int,
    sample_ids: Sequence[int | str],
    negative: Conditioning | None = None,
) -> Iterator[CascadeState]:
    """Draws a picture per caption through all stages and yields every state of each, the base's first.

    Args:
        negative: text of one negative caption, a batch of one, for every stage with guidance.

    Raises:
        ValueError: a sampler yielded no state.
    """
    previous: Images | None = None
    for stage in stages:
        last: Images | None = None
        states = sample_stage(
            stage, text_embeds, text_mask, seed=seed, sample_ids=sample_ids, previous=previous, negative=negative
        )
        for state in states:
            last = state.xt
            yield CascadeState(stage.name, state)
        if last is None:
            raise ValueError("a sampler of no steps draws nothing")
        previous = last.clamp(-1.0, 1.0)


def last_pictures(states: Iterator[CascadeState]) -> dict[str, Images]:
    """Runs all stages to their ends and returns each one's pictures, in [-1, 1], the base's first."""
    return {one.stage: one.state.xt.clamp(-1.0, 1.0) for one in states if one.state.step == one.state.num_steps}
