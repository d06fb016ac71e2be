"""What the training of one U-Net minimises: the denoising loss of a batch under random draws, which are arguments.

Joins datasets and diffusion; knows no optimiser. The draws of training come from one generator per step; validation
makes its own fixed ones and takes the same way through the network.
"""

from dataclasses import dataclass, fields

import torch

from minimagen.config import DiffusionConfig, UNetSection
from minimagen.datasets.captioned import Batch
from minimagen.diffusion.cascade import augment, resize
from minimagen.diffusion.denoiser import Denoiser, Network
from minimagen.diffusion.loss import denoising_loss
from minimagen.diffusion.schedule import NoiseSchedule
from minimagen.shapes import Conditioning, Images, PerSample, SampleMask, Timesteps

NUM_CHANNELS = 3


@dataclass(frozen=True, slots=True)
class Draws:
    """The random part of a loss, on the CPU."""

    t: Timesteps
    eps: Images
    is_dropped: SampleMask
    """Whose caption is replaced by the null tokens."""
    aug_level: Timesteps
    """Noise level of the low-resolution picture; unused by a base U-Net."""
    aug_eps: Images

    def part(self, positions: slice) -> "Draws":
        """Returns the draws of some samples."""
        return Draws(**{field.name: getattr(self, field.name)[positions] for field in fields(self)})


@dataclass(frozen=True, slots=True)
class Objective:
    """The loss of one U-Net's section of the parameters, computed on ``device``."""

    section: UNetSection
    device: torch.device

    @property
    def usual_aug_level(self) -> float:
        """The mean augmentation level of training; where one level has to do, as in validation, it is this."""
        return self.section.diffusion.max_aug_level / 2.0

    def denoiser(self, network: Network) -> Denoiser:
        """Returns the network together with its noise law and target."""
        return Denoiser(network, schedule_of(self.section.diffusion), self.section.diffusion.target)

    def draw(self, num_samples: int, generator: torch.Generator) -> Draws:
        """Draws for a batch: times stratified, t_i = (u + i/n) mod 1 (VDM, Kingma et al. 2021, appendix I.1), noise
        normal, captions dropped and augmentation levels uniform up to their limits."""
        shape = (num_samples, NUM_CHANNELS, self.section.trained_size, self.section.trained_size)
        first = torch.rand(1, generator=generator)
        config = self.section.diffusion
        return Draws(
            t=(first + torch.arange(num_samples) / num_samples) % 1.0,
            eps=torch.randn(shape, generator=generator),
            is_dropped=torch.rand(num_samples, generator=generator) < config.cond_drop_prob,
            aug_level=torch.rand(num_samples, generator=generator) * config.max_aug_level,
            aug_eps=torch.randn(shape, generator=generator),
        )

    def loss(self, network: Network, batch: Batch, generator: torch.Generator) -> PerSample:
        """Returns each sample's weighted loss under draws from ``generator``."""
        return self.loss_under(network, batch, self.draw(len(batch.keys), generator))

    def loss_under(self, network: Network, batch: Batch, draws: Draws) -> PerSample:
        """Returns each sample's weighted loss under given draws, over what of its picture is trained on."""
        config, device = self.section.diffusion, self.device
        pictures = batch.images.to(device)
        report = denoising_loss(
            self.denoiser(network),
            batch.trained_part(pictures),
            draws.eps.to(device),
            draws.t.to(device),
            self._conditioning(batch, pictures, draws),
            draws.is_dropped.to(device),
            weighting=config.weighting,
            gamma=config.min_snr_gamma,
        )
        return report.weighted

    def low_res(self, x0: Images) -> Images:
        """Returns what a super-resolution stage starts from, before augmentation, at this stage's size.

        Raises:
            ValueError: the section is a base U-Net's.
        """
        if self.section.low_res_size is None:
            raise ValueError("a base U-Net starts from no picture: low_res_size is null")
        return resize(resize(x0, self.section.low_res_size), self.section.image_size)

    def _conditioning(self, batch: Batch, pictures: Images, draws: Draws) -> Conditioning:
        text_embeds, text_mask = batch.text_embeds.to(self.device), batch.text_mask.to(self.device)
        if self.section.low_res_size is None:
            return Conditioning(text_embeds, text_mask)
        level = draws.aug_level.to(self.device)
        schedule = schedule_of(self.section.diffusion)
        # Shrunk and enlarged whole, as in sampling, then cut: a crop's edges see what lies beyond them.
        low_res = augment(batch.trained_part(self.low_res(pictures)), level, draws.aug_eps.to(self.device), schedule)
        return Conditioning(text_embeds, text_mask, low_res, level)


def schedule_of(config: DiffusionConfig) -> NoiseSchedule:
    """Returns the noise law that the parameters name."""
    return NoiseSchedule(config.schedule, config.log_snr_shift, config.zero_terminal_snr)
