"""Attention parts of the U-Net: to the caption's tokens, and among the pixels.

Knows nothing of where in the network it stands. Attention itself is torch's ``scaled_dot_product_attention``, but
where a processor does it in fewer products (``cpu_kernels``).
"""

import torch
from einops import rearrange, repeat
from torch import nn

from minimagen.models.cpu_kernels import FastLinear, absorbed_attention, absorbing_pays
from minimagen.shapes import FeatureMap, Features, TokenMask, Tokens


class ScaleNorm(nn.Module):
    """Layer norm over the last axis with a learned gain and no bias (Ba et al. 2016)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(dim))

    def forward(self, x: Features) -> Features:
        return nn.functional.layer_norm(x, x.shape[-1:], self.gain)


class CrossAttention(nn.Module):
    """Pixels attend to the tokens of caption and time, beside one learned key and value that stands for "nothing".

    Padding is masked; the learned key keeps the softmax defined even where every token is masked.
    """

    def __init__(self, dim: int, *, context_dim: int, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        inner_dim = num_heads * head_dim
        self.norm = ScaleNorm(dim)
        self.null_key_value = nn.Parameter(torch.randn(2, head_dim))
        self.to_query = FastLinear(dim, inner_dim, bias=False)
        self.to_key_value = FastLinear(context_dim, inner_dim * 2, bias=False)
        self.to_out = FastLinear(inner_dim, dim, bias=False)
        self.norm_out = ScaleNorm(dim)

    def forward(self, x: FeatureMap, tokens: Tokens, mask: TokenMask) -> FeatureMap:
        height = x.shape[2]
        pixels = self.norm(rearrange(x, "b c h w -> b (h w) c"))
        key, value = rearrange(self.to_key_value(tokens), "b n (two h d) -> two b h n d", two=2, h=self.num_heads)
        null_key, null_value = repeat(self.null_key_value, "two d -> two b h 1 d", b=x.shape[0], h=self.num_heads)
        key = torch.cat((null_key.to(key.dtype), key), dim=2)
        value = torch.cat((null_value.to(value.dtype), value), dim=2)
        is_visible = nn.functional.pad(mask, (1, 0), value=True)
        if absorbing_pays(pixels, key):
            out = absorbed_attention(pixels, key, value, is_visible, self.to_query, self.to_out)
        else:
            query = rearrange(self.to_query(pixels), "b n (h d) -> b h n d", h=self.num_heads)
            out = nn.functional.scaled_dot_product_attention(
                query, key, value, attn_mask=rearrange(is_visible, "b n -> b 1 1 n")
            )
            out = self.to_out(rearrange(out, "b h n d -> b n (h d)"))
        return rearrange(self.norm_out(out), "b (h w) c -> b c h w", h=height)


class SelfAttention(nn.Module):
    """Pixels attend to each other: many query heads, one key and value head (Shazeer 2019), and a learned "nothing".

    As all heads share the keys, the heads of a pixel are queries like those of other pixels: one long sequence.
    """

    def __init__(self, dim: int, *, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        inner_dim = num_heads * head_dim
        self.norm = ScaleNorm(dim)
        self.null_key_value = nn.Parameter(torch.randn(2, head_dim))
        self.to_query = FastLinear(dim, inner_dim, bias=False)
        self.to_key_value = FastLinear(dim, head_dim * 2, bias=False)
        self.to_out = FastLinear(inner_dim, dim, bias=False)
        self.norm_out = ScaleNorm(dim)

    def forward(self, x: FeatureMap) -> FeatureMap:
        height = x.shape[2]
        pixels = self.norm(rearrange(x, "b c h w -> b (h w) c"))
        query = rearrange(self.to_query(pixels), "b n (h d) -> b 1 (n h) d", h=self.num_heads)
        key, value = rearrange(self.to_key_value(pixels), "b n (two d) -> two b 1 n d", two=2)
        null_key, null_value = repeat(self.null_key_value, "two d -> two b 1 1 d", b=x.shape[0])
        key = torch.cat((null_key.to(key.dtype), key), dim=2)
        value = torch.cat((null_value.to(value.dtype), value), dim=2)
        out = nn.functional.scaled_dot_product_attention(query, key, value)
        out = self.norm_out(self.to_out(rearrange(out, "b 1 (n h) d -> b n (h d)", h=self.num_heads)))
        return rearrange(out, "b (h w) c -> b c h w", h=height)


class FeedForward(nn.Module):
    """Two layers on each pixel, twice as wide inside, normalised before each."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ScaleNorm(dim), FastLinear(dim, dim * 2, bias=False), nn.GELU(),
            ScaleNorm(dim * 2), FastLinear(dim * 2, dim, bias=False),
        )  # fmt: skip

    def forward(self, x: FeatureMap) -> FeatureMap:
        return rearrange(self.layers(rearrange(x, "b c h w -> b h w c")), "b h w c -> b c h w")


class TransformerBlock(nn.Module):
    """Self-attention, then the feed-forward layers, each around a shortcut. The caption is not in its context."""

    def __init__(self, dim: int, *, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.attention = SelfAttention(dim, num_heads=num_heads, head_dim=head_dim)
        self.feed_forward = FeedForward(dim)

    def forward(self, x: FeatureMap) -> FeatureMap:
        x = x + self.attention(x)
        return x + self.feed_forward(x)
