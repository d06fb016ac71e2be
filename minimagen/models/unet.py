"""The U-Net of a cascade stage: a noisy picture, its time and a caption in, a prediction of the picture's shape out.

Does not know what it predicts (noise, picture or velocity), how noise is added, or where captions come from.
Structure: Imagen (Saharia et al. 2022, appendix B) as MinImagen has it, whose parameter counts it reproduces.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from minimagen.config import UNetConfig
from minimagen.models.attention import CrossAttention, TransformerBlock
from minimagen.models.conditioning import TextConditioner, TimeConditioner
from minimagen.models.layers import CrossEmbed, Downsample, ResnetBlock, Upsample, Widen
from minimagen.shapes import (
    FeatureMap,
    Images,
    SampleMask,
    TextEmbeds,
    TextMask,
    Timesteps,
    TokenMask,
    Tokens,
    Vectors,
)

CHANNELS = 3
SKIP_SCALE = 2**-0.5
NUM_WARP_NUMBERS = 4
"""How a warped training picture is described: all 0 is a picture as it is."""


@dataclass(frozen=True, slots=True)
class LevelPlan:
    """Widths and parts of one resolution of the U-Net.

    A memory-efficient level halves the resolution first and works at its output width, the other works at its input
    width and halves last.
    """

    dim_in: int
    dim_out: int
    num_blocks: int
    has_attention: bool
    has_cross_attention: bool
    is_memory_efficient: bool
    is_last: bool

    @property
    def width(self) -> int:
        """Channels of the level's blocks on the way down, and of its skips."""
        return self.dim_out if self.is_memory_efficient else self.dim_in


def plan_levels(config: UNetConfig) -> list[LevelPlan]:
    """Returns the levels of a U-Net, full resolution first."""
    widths = [config.dim, *(config.dim * mult for mult in config.dim_mults)]
    return [
        LevelPlan(
            dim_in=widths[level],
            dim_out=widths[level + 1],
            num_blocks=config.num_resnet_blocks[level],
            has_attention=config.layer_attns[level],
            has_cross_attention=config.layer_cross_attns[level],
            is_memory_efficient=config.memory_efficient,
            is_last=level == len(config.dim_mults) - 1,
        )
        for level in range(len(config.dim_mults))
    ]


class BlockFactory:
    """Builds the parts that share a network's conditioning widths."""

    def __init__(self, config: UNetConfig, *, time_dim: int, cond_dim: int) -> None:
        self._config = config
        self._time_dim = time_dim
        self._cond_dim = cond_dim

    def block(self, channels_in: int, channels_out: int, *, has_cross_attention: bool = False) -> ResnetBlock:
        """Returns a residual block."""
        config = self._config
        cross = None
        if has_cross_attention:
            cross = CrossAttention(
                channels_out, context_dim=self._cond_dim, num_heads=config.attn_heads, head_dim=config.attn_head_dim
            )
        return ResnetBlock(
            channels_in, channels_out, time_dim=self._time_dim, cross_attention=cross, dropout=config.dropout
        )

    def attention(self, width: int, *, is_present: bool) -> nn.Module:
        """Returns a transformer block, or the identity."""
        if not is_present:
            return nn.Identity()
        return TransformerBlock(width, num_heads=self._config.attn_heads, head_dim=self._config.attn_head_dim)


class DownLevel(nn.Module):
    """One level on the way down; returns its output and its skips, one per block and one after attention."""

    def __init__(self, plan: LevelPlan, factory: BlockFactory) -> None:
        super().__init__()
        width = plan.width
        self.before = Downsample(plan.dim_in, plan.dim_out) if plan.is_memory_efficient else nn.Identity()
        self.first = factory.block(width, width, has_cross_attention=plan.has_cross_attention)
        self.blocks = nn.ModuleList(factory.block(width, width) for _ in range(plan.num_blocks))
        self.attention = factory.attention(width, is_present=plan.has_attention)
        self.after: nn.Module = nn.Identity()
        if not plan.is_memory_efficient:
            self.after = (Widen if plan.is_last else Downsample)(plan.dim_in, plan.dim_out)

    def forward(
        self, x: FeatureMap, time: Vectors, tokens: Tokens, mask: TokenMask
    ) -> tuple[FeatureMap, list[FeatureMap]]:
        skips: list[FeatureMap] = []
        x = self.first(self.before(x), time, tokens, mask)
        for block in self.blocks:
            x = block(x, time)
            skips.append(x)
        x = self.attention(x)
        skips.append(x)
        return self.after(x), skips


class UpLevel(nn.Module):
    """One level on the way up; takes the skips of its twin, last first, scaled by 1/sqrt 2 (Imagen, appendix B.1)."""

    def __init__(self, plan: LevelPlan, factory: BlockFactory, *, is_full_resolution: bool) -> None:
        super().__init__()
        width, joined = plan.dim_out, plan.dim_out + plan.width
        self.first = factory.block(joined, width, has_cross_attention=plan.has_cross_attention)
        self.blocks = nn.ModuleList(factory.block(joined, width) for _ in range(plan.num_blocks))
        self.attention = factory.attention(width, is_present=plan.has_attention)
        keeps_resolution = is_full_resolution and not plan.is_memory_efficient
        self.after = nn.Identity() if keeps_resolution else Upsample(plan.dim_out, plan.dim_in)

    def forward(
        self, x: FeatureMap, skips: list[FeatureMap], time: Vectors, tokens: Tokens, mask: TokenMask
    ) -> FeatureMap:
        first_skip, *others = reversed(skips)
        x = self.first(torch.cat((x, first_skip * SKIP_SCALE), dim=1), time, tokens, mask)
        for block, skip in zip(self.blocks, others, strict=True):
            x = block(torch.cat((x, skip * SKIP_SCALE), dim=1), time)
        return self.after(self.attention(x))


class UNet(nn.Module):
    """The network of one stage. A super-resolution stage also sees a low-resolution picture and how noisy that is.

    Args:
        text_dim: width of the encoded captions.
        has_low_res: whether it is a super-resolution stage.
        is_recomputing: keep no activations inside levels for the way back, but compute them again; same gradients.
    """

    def __init__(self, config: UNetConfig, *, text_dim: int, has_low_res: bool, is_recomputing: bool = False) -> None:
        super().__init__()
        self.is_recomputing = is_recomputing
        dim, cond_dim = config.dim, config.cond_dim or config.dim
        time_dim = dim * (8 if has_low_res else 4)
        factory = BlockFactory(config, time_dim=time_dim, cond_dim=cond_dim)
        levels = plan_levels(config)
        self.time = TimeConditioner(dim, time_dim=time_dim, cond_dim=cond_dim)
        self.low_res_time = TimeConditioner(dim, time_dim=time_dim, cond_dim=cond_dim) if has_low_res else None
        self.text = TextConditioner(
            text_dim, time_dim=time_dim, cond_dim=cond_dim, num_null_tokens=config.num_null_tokens
        )
        self.norm_tokens = nn.LayerNorm(cond_dim)
        self.first = CrossEmbed(CHANNELS * (2 if has_low_res else 1), dim, config.init_kernel_sizes)
        self.downs = nn.ModuleList(DownLevel(plan, factory) for plan in levels)
        width = levels[-1].dim_out
        self.middle1 = factory.block(width, width, has_cross_attention=True)
        self.middle_attention = factory.attention(width, is_present=config.attend_at_middle)
        self.middle2 = factory.block(width, width, has_cross_attention=True)
        self.ups = nn.ModuleList(
            UpLevel(plan, factory, is_full_resolution=level == 0) for level, plan in reversed(list(enumerate(levels)))
        )
        self.has_final_skip = config.final_skip
        self.last_block = factory.block(dim * 2 if config.final_skip else dim, dim)
        self.last = nn.Conv2d(dim, CHANNELS, 3, padding=1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)
        self.warp = nn.Linear(NUM_WARP_NUMBERS, time_dim, bias=False) if config.hears_warp else None

    def forward(
        self,
        xt: Images,
        t: Timesteps,
        *,
        text_embeds: TextEmbeds,
        text_mask: TextMask,
        is_dropped: SampleMask | None = None,
        low_res: Images | None = None,
        low_res_level: Timesteps | None = None,
        warp: Vectors | None = None,
    ) -> Images:
        """Predicts the target that it was trained on from a noisy picture.

        Args:
            is_dropped: samples whose caption is replaced by the null tokens; None drops none.
            low_res: the low-resolution picture at this stage's size, noised to ``low_res_level``.
            warp: how each picture was warped; None is not at all. Needs ``hears_warp``.
        """
        time, tokens, mask = self._condition(t, text_embeds, text_mask, is_dropped, low_res_level)
        if self.warp is not None and warp is not None:
            time = time + self.warp(warp)
        x = first = self.first(xt if low_res is None else torch.cat((xt, low_res), dim=1))
        skips: list[list[FeatureMap]] = []
        for down in self.downs:
            x, level_skips = self._through(down, x, time, tokens, mask)
            skips.append(level_skips)
        x = self.middle1(x, time, tokens, mask)
        x = self.middle2(self.middle_attention(x), time, tokens, mask)
        for up in self.ups:
            x = self._through(up, x, skips.pop(), time, tokens, mask)
        if self.has_final_skip:
            x = torch.cat((x, first * SKIP_SCALE), dim=1)
        return self.last(self._through(self.last_block, x, time))

    def _through(self, part: nn.Module, *inputs: object) -> Any:
        if self.is_recomputing and torch.is_grad_enabled():
            return checkpoint(part, *inputs, use_reentrant=False)
        return part(*inputs)

    def _condition(
        self,
        t: Timesteps,
        text_embeds: TextEmbeds,
        text_mask: TextMask,
        is_dropped: SampleMask | None,
        low_res_level: Timesteps | None,
    ) -> tuple[Vectors, Tokens, TokenMask]:
        vector, time_tokens = self.time(t)
        if self.low_res_time is not None and low_res_level is not None:
            low_res_vector, low_res_tokens = self.low_res_time(low_res_level)
            vector, time_tokens = vector + low_res_vector, torch.cat((time_tokens, low_res_tokens), dim=1)
        text_vector, text_tokens, mask = self.text(text_embeds, text_mask, is_dropped)
        tokens = self.norm_tokens(torch.cat((time_tokens, text_tokens), dim=1))
        mask = nn.functional.pad(mask, (time_tokens.shape[1], 0), value=True)
        return vector + text_vector, tokens, mask
