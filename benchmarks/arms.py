"""What the ablations compare: one line an arm, each a change of the demo's parameters.

Knows no training. An arm that changes only how pictures are drawn uses the reference's weights.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.course import changed
from minimagen.config import Params, SamplingConfig, UNetSection

REFERENCE = "reference"
RECIPE = {"diffusion__log_snr_shift": 0.0, "diffusion__cond_drop_prob": 0.1}
"""Of the base where an arm does not say otherwise: the demo's before these ablations, and it allows guidance."""
GUIDANCE = {"guidance_scale": 1.5}
NOISED = {"aug_level": 0.05}
"""How the super-resolution U-Net draws where an arm does not say otherwise: the demo's before these ablations too."""
SUPER_PX = 32
"""The super-resolution arms enlarge to this, a quarter of the work of the demo's 64 px."""
BASE, SUPER = "base", "super"
DDPM_1000 = {"sampler": "ddpm", "num_steps": 1000}
ALWAYS, UNGUIDED = {"diffusion__cond_drop_prob": 0.0}, {"guidance_scale": 1.0}
DYNAMIC = {"threshold_percentile": 0.995, "threshold_cap": 1.5}


@dataclass(frozen=True, slots=True)
class Arm:
    """One variant of one U-Net of the demo."""

    topic: str
    name: str
    unet: str = BASE
    training: Mapping[str, object] = field(default_factory=dict)
    """Changes of the U-Net's section, as ``course.changed`` takes them."""
    sampling: Mapping[str, object] = field(default_factory=dict)
    """Changes of how it draws."""
    base_sampling: Mapping[str, object] = field(default_factory=dict)
    """Changes of how the base that it enlarges draws; of a super-resolution arm alone."""

    @property
    def label(self) -> str:
        """Topic and name."""
        return f"{self.topic}: {self.name}"

    def section(self, params: Params, seed: int) -> UNetSection:
        """Returns what it trains."""
        own = {"image_size": SUPER_PX} if self.unet == SUPER else RECIPE
        return changed(params.unets[self.unet], training__seed=seed, **dict(own) | dict(self.training))

    def settings(self, params: Params) -> dict[str, SamplingConfig]:
        """Returns how it draws, and the base before it."""
        is_base = self.unet == BASE
        base_sampling = GUIDANCE | dict(self.sampling if is_base else self.base_sampling)
        changes = {BASE: base_sampling} if is_base else {BASE: base_sampling, SUPER: NOISED | dict(self.sampling)}
        return {
            unet: SamplingConfig.model_validate(params.sampling[unet].model_dump() | dict(own))
            for unet, own in changes.items()
        }


def _shift(size_px: int) -> float:
    return 2 * math.log(64 / size_px)


ARMS = (
    Arm(REFERENCE, "the demo's base"),
    Arm("target", "eps", training={"diffusion__target": "eps"}),
    Arm("target", "v", training={"diffusion__target": "v"}),
    Arm("weighting", "x0, min-SNR 5", training={"diffusion__weighting": "min_snr"}),
    Arm("weighting", "v, min-SNR 5", training={"diffusion__target": "v", "diffusion__weighting": "min_snr"}),
    Arm("weighting", "eps, min-SNR 5", training={"diffusion__target": "eps", "diffusion__weighting": "min_snr"}),
    Arm("schedule", "cosine shifted by 2 ln(64/16)", training={"diffusion__log_snr_shift": _shift(16)}),
    Arm("schedule", "cosine shifted by -2", training={"diffusion__log_snr_shift": -2.0}),
    Arm("schedule", "linear", training={"diffusion__schedule": "linear"}),
    Arm("average", "none", training={"training__ema_decay": 0.0}),
    Arm("average", "0.9", training={"training__ema_decay": 0.9}),
    Arm("average", "0.999", training={"training__ema_decay": 0.999}),
    Arm("caption drop", "0", training=ALWAYS, sampling=UNGUIDED),
    Arm("caption drop", "0.05", training={"diffusion__cond_drop_prob": 0.05}),
    Arm("caption drop", "0.2", training={"diffusion__cond_drop_prob": 0.2}),
    Arm("caption drop", "0, shifted by -2", training=ALWAYS | {"diffusion__log_snr_shift": -2.0}, sampling=UNGUIDED),
    Arm("caption drop", "0, linear", training=ALWAYS | {"diffusion__schedule": "linear"}, sampling=UNGUIDED),
    Arm("warp", "0.15", training={"training__warp_prob": 0.15, "unet__hears_warp": True}),
    Arm("guidance", "1", sampling={"guidance_scale": 1.0}),
    Arm("guidance", "2", sampling={"guidance_scale": 2.0}),
    Arm("guidance", "3", sampling={"guidance_scale": 3.0}),
    Arm("guidance", "2, dynamic threshold", sampling={"guidance_scale": 2.0, **DYNAMIC}),
    Arm("interval", "0.25 to 0.75", sampling={"guidance_interval": (0.25, 0.75)}),
    Arm("interval", "0.5 to 1", sampling={"guidance_interval": (0.5, 1.0)}),
    Arm("interval", "0 to 0.5", sampling={"guidance_interval": (0.0, 0.5)}),
    Arm("steps", "5", sampling={"num_steps": 5}),
    Arm("steps", "10", sampling={"num_steps": 10}),
    Arm("steps", "25", sampling={"num_steps": 25}),
    Arm("steps", "40", sampling={"num_steps": 40}),
    Arm("steps", "1000 of DDPM", sampling=DDPM_1000),
    Arm("sampler", "DDIM, 20", sampling={"sampler": "ddim"}),
    Arm("sampler", "DDPM, 20", sampling={"sampler": "ddpm"}),
    Arm("sampler", "Heun, 10", sampling={"sampler": "heun", "num_steps": 10}),
    Arm(REFERENCE, "the demo's super, to 32 px", SUPER),
    Arm("augmentation, training", "0", SUPER, training={"diffusion__max_aug_level": 0.0}, sampling={"aug_level": 0.0}),
    Arm("augmentation, training", "up to 0.5", SUPER, training={"diffusion__max_aug_level": 0.5}),
    Arm("augmentation, drawing", "0", SUPER, sampling={"aug_level": 0.0}),
    Arm("augmentation, drawing", "0.1", SUPER, sampling={"aug_level": 0.1}),
    Arm("augmentation, drawing", "0.2", SUPER, sampling={"aug_level": 0.2}),
    Arm("steps, super", "4", SUPER, sampling={"num_steps": 4}),
    Arm("steps, super", "15", SUPER, sampling={"num_steps": 15}),
    Arm("steps, both", "25 + 15", SUPER, sampling={"num_steps": 15}, base_sampling={"num_steps": 25}),
    Arm("steps, both", "1000 + 1000 of DDPM", SUPER, sampling=DDPM_1000, base_sampling=DDPM_1000),
    Arm("consistency", "shrinks to its input", SUPER, sampling={"low_frequency_consistency": True}),
)  # fmt: skip
"""All arms; the first of each U-Net is what the others are compared with."""


def reference_of(unet: str) -> Arm:
    """Returns the arm that the others of a U-Net are compared with."""
    return next(arm for arm in ARMS if arm.unet == unet)
