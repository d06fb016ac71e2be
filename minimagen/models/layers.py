"""Convolutional parts of the U-Net: embeddings, resampling and the conditioned residual block.

Knows nothing of levels, skips or captions' origin. Structure: MinImagen's, after
Imagen (Saharia et al. 2022, appendix B).
"""

import math

import torch
from einops import rearrange
from torch import nn

from minimagen.models.attention import CrossAttention
from minimagen.models.cpu_kernels import FastConv2d, FastUpConv2d, modulated_norm
from minimagen.shapes import FeatureMap, PerSample, TokenMask, Tokens, Vectors

NUM_GROUPS = 8
MAX_PERIOD = 10_000.0
TIME_SCALE = 1000.0


class SinusoidalEmbedding(nn.Module):
    """Embeds diffusion time in sines and cosines of geometric frequencies (Vaswani et al. 2017, section 3.5).

    Time is multiplied by 1000, the step count of the original, so that frequencies suit t in [0, 1].
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, t: PerSample) -> Vectors:
        half = self.dim // 2
        exponents = torch.arange(half, device=t.device, dtype=torch.float32) / (half - 1)
        angles = rearrange(t * TIME_SCALE, "b -> b 1") * torch.exp(-math.log(MAX_PERIOD) * exponents)
        return torch.cat((angles.sin(), angles.cos()), dim=-1)  # (b, dim)


class CrossEmbed(nn.Module):
    """The first convolution: kernels of several sizes side by side, the smallest with half of the channels."""

    def __init__(self, channels_in: int, channels_out: int, kernel_sizes: tuple[int, ...]) -> None:
        super().__init__()
        kernel_sizes = tuple(sorted(kernel_sizes))
        widths = [channels_out // 2**level for level in range(1, len(kernel_sizes))]
        widths.append(channels_out - sum(widths))
        self.convs = nn.ModuleList(
            FastConv2d(channels_in, width, size) for size, width in zip(kernel_sizes, widths, strict=True)
        )

    def forward(self, x: FeatureMap) -> FeatureMap:
        return torch.cat([conv(x) for conv in self.convs], dim=1)


class Downsample(nn.Module):
    """Halves the resolution by a strided 4x4 convolution."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 4, stride=2, padding=1)

    def forward(self, x: FeatureMap) -> FeatureMap:
        return self.conv(x)


class Widen(nn.Module):
    """Changes the width at the lowest level, where the resolution stays: a 3x3 and a 1x1 convolution, summed."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv3 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: FeatureMap) -> FeatureMap:
        return self.conv3(x) + self.conv1(x)


class Upsample(nn.Module):
    """Doubles the resolution by nearest neighbours and a 3x3 convolution."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = FastUpConv2d(channels_in, channels_out)

    def forward(self, x: FeatureMap) -> FeatureMap:
        return self.conv(x)


class ResnetBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut, told the time by scale and shift and, if asked, the caption.

    h = conv(silu(norm(x))); h += cross_attention(h, tokens); h = conv(silu(norm(h) (1 + scale) + shift)) + shortcut(x)
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        time_dim: int,
        cross_attention: CrossAttention | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.to_scale_shift = nn.Linear(time_dim, channels_out * 2)
        self.cross_attention = cross_attention
        self.norm1 = nn.GroupNorm(NUM_GROUPS, channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm2 = nn.GroupNorm(NUM_GROUPS, channels_out)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.shortcut = nn.Identity() if channels_in == channels_out else nn.Conv2d(channels_in, channels_out, 1)

    def forward(
        self, x: FeatureMap, time: Vectors, tokens: Tokens | None = None, mask: TokenMask | None = None
    ) -> FeatureMap:
        h = self.conv1(nn.functional.silu(self.norm1(x)))
        if self.cross_attention is not None and tokens is not None and mask is not None:
            h = h + self.cross_attention(h, tokens, mask)
        scale, shift = rearrange(self.to_scale_shift(nn.functional.silu(time)), "b (two c) -> two b c", two=2)
        h = nn.functional.silu(modulated_norm(h, self.norm2, scale, shift))
        return self.conv2(self.dropout(h)) + self.shortcut(x)
