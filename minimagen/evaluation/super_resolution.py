"""One stage of a cascade on real pictures: shrink, enlarge, compare with the original and with bicubic upscaling.

Knows no file and no data set. Shrinking, noise augmentation and sampling are the cascade's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from minimagen.diffusion.cascade import CascadeStage, last_state, resize, sample_stage
from minimagen.shapes import Images, TextEmbeds, TextMask

LEVELS_PER_UNIT = 127.5
"""Of pictures in [-1, 1]."""


@dataclass(frozen=True, slots=True)
class Enlarged:
    """Pictures on their way down and up again, all in [-1, 1]."""

    low_res: Images
    """What both methods start from, of the previous stage's size and without noise."""
    bicubic: Images
    pictures: Images
    """The stage's own, drawn from the low resolution noised to its ``aug_level``."""


@torch.inference_mode()
def enlarge(
    stage: CascadeStage,
    originals: Images,
    low_res_size: int,
    text_embeds: TextEmbeds,
    text_mask: TextMask,
    *,
    seed: int,
    sample_ids: Sequence[int | str],
) -> Enlarged:
    """Shrinks pictures as the cascade does and enlarges them with the stage and by bicubic interpolation.

    Args:
        originals: of the stage's size.
        low_res_size: side of the previous stage's pictures, px.
        sample_ids: one name per picture; noise comes from (seed, stage, name).
    """
    low_res = resize(originals, low_res_size)
    states = sample_stage(stage, text_embeds, text_mask, seed=seed, sample_ids=sample_ids, previous=low_res)
    return Enlarged(low_res=low_res, bicubic=resize(low_res, stage.image_size), pictures=last_state(states))


def colour_error(pictures: Images, low_res: Images) -> float:
    """Returns how far enlarged pictures, shrunk again as the cascade shrinks, are from what they were made from.

    Mean distance over pixels, channels and pictures, in levels of 255: a shift of colours shows here, new detail does
    not.
    """
    return float((resize(pictures, low_res.shape[-1]) - low_res).abs().mean()) * LEVELS_PER_UNIT
