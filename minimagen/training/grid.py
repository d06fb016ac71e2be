"""Pictures drawn while a U-Net trains, to be looked at: the same captions, noise and starting pictures every time.

A base U-Net draws from noise; a super-resolution one from real held-out pictures, since the cascade exists only at
sampling. Knows no file and no layout.
"""

import torch

from minimagen.datasets.captioned import Batch
from minimagen.datasets.transforms import to_pixels
from minimagen.diffusion.cascade import CascadeStage, SamplerSettings, last_state, resize, sample_stage
from minimagen.diffusion.denoiser import Network
from minimagen.shapes import PixelImages
from minimagen.training.objective import Objective


@torch.inference_mode()
def draw_grid(objective: Objective, network: Network, batch: Batch) -> list[PixelImages]:
    """Draws a picture for each caption of a batch with the sampler of the parameters' ``grid``, clamped.

    Returns:
        What stands side by side: the starting picture (super-resolution only), the drawn one, the real one.

    Determinism: noise from (seed of the training, key of the sample).
    """
    section, device = objective.section, objective.device
    low_res_size, grid = section.low_res_size, section.training.grid
    settings = SamplerSettings(
        sampler="dpmpp_2m",
        num_steps=grid.num_steps,
        guidance_scale=grid.guidance_scale,
        threshold_percentile=None,
        threshold_cap=1.0,
        aug_level=None if low_res_size is None else objective.usual_aug_level,
    )
    real = batch.images.to(device)
    previous = None if low_res_size is None else resize(real, low_res_size)
    drawn = last_state(
        sample_stage(
            CascadeStage("grid", objective.denoiser(network), section.image_size, settings),
            batch.text_embeds.to(device),
            batch.text_mask.to(device),
            seed=section.training.seed,
            sample_ids=batch.keys,
            previous=previous,
        )
    )
    pictures = [drawn, real] if previous is None else [previous, drawn, real]
    return [to_pixels(images) for images in pictures]
