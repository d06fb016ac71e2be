"""Parameters of one stage of the cascade: its network, its noise law, its training. Knows no other stage."""

from typing import Literal, Self

from pydantic import Field, model_validator

from minimagen.config.section import Section


class UNetConfig(Section):
    """The network alone. Defaults are the original MinImagen's."""

    dim: int = Field(ge=8)
    """Channels at full resolution; a multiple of 8 (group norm)."""
    dim_mults: tuple[int, ...] = Field(min_length=1)
    """Channels of each level as multiples of dim; the resolution halves between levels."""
    num_resnet_blocks: tuple[int, ...]
    """Residual blocks of each level, beside the level's first one."""
    layer_attns: tuple[bool, ...]
    """Which levels have self-attention."""
    layer_cross_attns: tuple[bool, ...]
    """Which levels attend to the caption."""
    memory_efficient: bool
    """Halve the resolution before a level's blocks, not after them (Efficient U-Net, Saharia et al. 2022, B.1)."""
    attn_heads: int = Field(default=8, ge=1)
    """Attention heads."""
    attn_head_dim: int = Field(default=64, ge=4)
    """Width of a head."""
    cond_dim: int | None = None
    """Width of the caption and time tokens; null is dim."""
    attend_at_middle: bool = False
    """Self-attention between the two middle blocks."""
    init_kernel_sizes: tuple[int, ...] = (3, 7, 15)
    """Side of each kernel of the first convolution, px."""
    num_null_tokens: int = Field(default=256, ge=1)
    """Learned tokens that stand for a dropped caption."""
    final_skip: bool = False
    """The last block also sees the first convolution's output: full resolution goes around a memory-efficient net."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of activations dropped before each block's last convolution while training."""

    @model_validator(mode="after")
    def _levels_agree(self) -> Self:
        for field in ("num_resnet_blocks", "layer_attns", "layer_cross_attns"):
            value = getattr(self, field)
            if len(value) != len(self.dim_mults):
                raise ValueError(
                    f"{field} has {len(value)} entries, dim_mults has {len(self.dim_mults)}: one per level"
                )
        if self.dim % 8:
            raise ValueError(f"dim {self.dim} is not a multiple of 8 (group norm has 8 groups)")
        return self


class DiffusionConfig(Section):
    """The noise law, what the network predicts and how errors are weighed."""

    schedule: Literal["cosine", "linear"]
    """log-SNR as a function of time: cosine (Nichol & Dhariwal 2021) or linear beta (Ho et al. 2020)."""
    log_snr_shift: float
    """Added to log-SNR at every time; 2 ln(64 / image_size) keeps the noise per area of a 64 px picture."""
    target: Literal["eps", "x0", "v"]
    """What the network predicts."""
    weighting: Literal["uniform", "min_snr"]
    """Weight of a sample's error by its noise level."""
    min_snr_gamma: float = Field(gt=0.0)
    """Cap of the signal-to-noise ratio in min_snr (Hang et al. 2023)."""
    cond_drop_prob: float = Field(ge=0.0, lt=1.0)
    """Share of captions replaced by the learned null tokens while training."""
    max_aug_level: float = Field(ge=0.0, le=1.0)
    """Low-resolution pictures are noised to a diffusion time drawn from U(0, this); unused by a base U-Net."""


class GridConfig(Section):
    """Sample pictures drawn while training."""

    every: int = Field(ge=0)
    """Steps between grids; 0 draws none."""
    num_captions: int = Field(ge=1)
    """Held-out captions per grid."""
    num_steps: int = Field(ge=1)
    """Sampler steps."""
    guidance_scale: float = Field(ge=1.0)
    """Classifier-free guidance; 1 is none."""


class TrainingConfig(Section):
    """The optimisation of one U-Net. Train length is num_steps or num_epochs, never both."""

    seed: int
    """Seed of weights, data order and noise."""
    num_steps: int | None = Field(ge=1)
    """Optimiser steps, or null."""
    num_epochs: int | None = Field(ge=1)
    """Passes over the training pictures, or null."""
    batch_size: int = Field(ge=1)
    """Pictures per optimiser step."""
    learning_rate: float = Field(gt=0.0)
    """Peak learning rate of AdamW."""
    warmup_steps: int = Field(ge=0)
    """Steps of linear warm-up."""
    decay: Literal["constant", "cosine"]
    """Learning rate after the warm-up; cosine ends at 1 % of the peak."""
    weight_decay: float = Field(ge=0.0)
    """Decoupled weight decay."""
    max_grad_norm: float = Field(gt=0.0)
    """Gradients are scaled down to this global L2 norm."""
    ema_decay: float = Field(ge=0.0, lt=1.0)
    """Decay of the averaged weights, reached by warm-up: min(decay, (1 + step) / (10 + step))."""
    precision: Literal["fp32", "bf16", "fp16"]
    """Arithmetic of forward and backward passes; weights, moments and averages stay fp32."""
    crop: Literal["center", "top", "random", "pad", "squash"]
    """How a picture that is not square becomes square."""
    save_every: int = Field(ge=1)
    """Steps between resumable states."""
    validate_every: int = Field(ge=1)
    """Steps between validations."""
    num_validation_images: int = Field(ge=1)
    """Held-out pictures per validation."""
    snapshot_epochs: tuple[int, ...]
    """Epochs after which the averaged weights are kept in checkpoints/."""
    grid: GridConfig

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.num_steps is None) == (self.num_epochs is None):
            raise ValueError(
                f"give num_steps or num_epochs and set the other to null "
                f"(num_steps {self.num_steps}, num_epochs {self.num_epochs})"
            )
        return self


class UNetSection(Section):
    """One stage of the cascade: its network, its diffusion, its training."""

    image_size: int = Field(ge=4)
    """Side of the pictures it makes, px."""
    low_res_size: int | None
    """Side of the pictures it starts from, px; null for a base U-Net."""
    unet: UNetConfig
    diffusion: DiffusionConfig
    training: TrainingConfig

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        halvings = len(self.unet.dim_mults) - (0 if self.unet.memory_efficient else 1)
        if self.image_size % 2**halvings:
            raise ValueError(
                f"image_size {self.image_size} is not divisible by {2**halvings} = 2**{halvings} "
                f"({len(self.unet.dim_mults)} levels in unet.dim_mults)"
            )
        if self.low_res_size is not None and self.low_res_size >= self.image_size:
            raise ValueError(f"low_res_size {self.low_res_size} is not smaller than image_size {self.image_size}")
        return self
