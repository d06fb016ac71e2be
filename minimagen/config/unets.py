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
    hears_warp: bool = False
    """The network is told how a training picture was warped (training.warp_prob); a linear layer more."""

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
    zero_terminal_snr: bool = False
    """Let no signal at all be left at time 1, where sampling starts (Lin et al. 2023)."""

    @model_validator(mode="after")
    def _target_is_defined(self) -> Self:
        if self.zero_terminal_snr and self.target == "eps":
            raise ValueError(
                "target 'eps' with zero_terminal_snr: where no signal is left the noise tells nothing of the picture; "
                "expected 'x0' or 'v'"
            )
        return self


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
    on_copying: Literal["ignore", "warn", "stop"]
    """What to do where the pictures turn out to be copies of training pictures: tell it with the grid alone, warn, or
    end the training with the weights of the grid before; ignore where a few pictures are to be learnt by heart."""


class ExecutionConfig(Section):
    """How the steps of a training are computed: speed and memory change, the numbers by their rounding alone.

    Where there is dropout, its masks too depend on how a batch is cut into parts.
    """

    accumulate: int = Field(ge=1)
    """Parts of a batch that a process works through one after another before each update; 1 is all at once."""
    recompute: bool
    """Keep no activations inside the levels of the U-Net, compute them again on the way back (Chen et al. 2016)."""
    compile: bool
    """Translate the network into machine code at the first step (torch.compile): minutes, then faster steps; on a GPU
    kernels are replayed as CUDA graphs, where one process works through a batch in one part."""
    channels_last: bool
    """Keep the channels of a pixel side by side in memory, which convolutions of some machines like better."""


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
    adam_beta2: float = Field(gt=0.0, lt=1.0)
    """Decay of AdamW's average of squared gradients; 0.999 is torch's own, 0.99 forgets within fewer steps."""
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
    crop_size: int | None = Field(ge=4)
    """Side of the random square of each picture that a super-resolution U-Net is trained on, px; null is all of it."""
    warp_prob: float = Field(ge=0.0, lt=1.0)
    """How probable each is, that a training picture is zoomed, stretched, shifted; the network must hear of it."""
    execution: ExecutionConfig
    save_every: int = Field(ge=1)
    """Steps between resumable states."""
    validate_every: int = Field(ge=1)
    """Steps between validations."""
    num_validation_images: int = Field(ge=1)
    """Held-out pictures per validation."""
    snapshot_epochs: tuple[int, ...]
    """Epochs after which the averaged weights are kept in checkpoints/, as far as the training comes."""
    grid: GridConfig

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.num_steps is None) == (self.num_epochs is None):
            raise ValueError(
                f"give num_steps or num_epochs and set the other to null "
                f"(num_steps {self.num_steps}, num_epochs {self.num_epochs})"
            )
        return self

    @model_validator(mode="after")
    def _parts_are_not_empty(self) -> Self:
        if self.execution.accumulate > self.batch_size:
            raise ValueError(
                f"execution.accumulate {self.execution.accumulate} is more than batch_size {self.batch_size}: "
                f"a part would be empty"
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

    @property
    def trained_size(self) -> int:
        """Side of what the network sees while it is trained, px."""
        return self.training.crop_size or self.image_size

    @property
    def _num_halvings(self) -> int:
        """How often the network halves the resolution."""
        return len(self.unet.dim_mults) - (0 if self.unet.memory_efficient else 1)

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        if self.image_size % 2**self._num_halvings:
            raise ValueError(
                f"image_size {self.image_size} is not divisible by {2**self._num_halvings} = 2**{self._num_halvings} "
                f"({len(self.unet.dim_mults)} levels in unet.dim_mults)"
            )
        if self.low_res_size is not None and self.low_res_size >= self.image_size:
            raise ValueError(f"low_res_size {self.low_res_size} is not smaller than image_size {self.image_size}")
        return self

    @model_validator(mode="after")
    def _copies_are_looked_for(self) -> Self:
        grid = self.training.grid
        if grid.on_copying == "stop" and (self.low_res_size is not None or not grid.every):
            why = "draws no grid" if not grid.every else "starts from pictures, so it is not asked whether it copies"
            raise ValueError(f"training.grid.on_copying stop, expected ignore or warn: this U-Net {why}")
        return self

    @model_validator(mode="after")
    def _guidance_was_learnt(self) -> Self:
        scale = self.training.grid.guidance_scale
        if scale > 1.0 and not self.diffusion.cond_drop_prob:
            raise ValueError(
                f"training.grid.guidance_scale {scale:g}, expected 1 (or above 0 in diffusion.cond_drop_prob: guidance "
                f"compares with pictures drawn without a caption)"
            )
        return self

    @model_validator(mode="after")
    def _crops_are_pictures(self) -> Self:
        size, unet = self.training.crop_size, self.unet
        if size is None:
            return self
        if self.low_res_size is None:
            raise ValueError(
                f"training.crop_size {size}, expected null: a base U-Net has to see whole pictures to compose them"
            )
        if size >= self.image_size:
            raise ValueError(f"training.crop_size {size} is not smaller than image_size {self.image_size}")
        if size % 2**self._num_halvings:
            raise ValueError(f"training.crop_size {size} is not divisible by {2**self._num_halvings}, as image_size is")
        if any(unet.layer_attns) or unet.attend_at_middle:
            raise ValueError(
                f"training.crop_size {size} with self-attention (unet.layer_attns, unet.attend_at_middle): learnt "
                f"among the pixels of a crop, it would be used among {(self.image_size / size) ** 2:g} times as "
                f"many; switch it off, or train on whole pictures"
            )
        return self

    @model_validator(mode="after")
    def _warps_are_heard(self) -> Self:
        if self.training.warp_prob > 0.0 and not self.unet.hears_warp:
            raise ValueError(
                f"training.warp_prob {self.training.warp_prob} with unet.hears_warp false: a network that is not told "
                f"of warps draws warped pictures"
            )
        if self.training.warp_prob == 0.0 and self.unet.hears_warp:
            raise ValueError("unet.hears_warp true with training.warp_prob 0: that layer would learn nothing")
        return self
