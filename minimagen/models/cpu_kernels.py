"""Layers computed by another way on processors: the same function and parameters, faster by the measured ratio.

Knows nothing of the network. Elsewhere than on a CPU in fp32 each is torch's own layer. Figures: docs/experiments.md.
"""

import math

import torch
from einops import rearrange, repeat
from torch import nn

from minimagen.shapes import FeatureMap, Features, HeadTokens, Projected, TokenMask, Tokens, Vectors

NUM_PARTS = 16
"""torch leaves 1x1 convolutions of fewer pictures to the matrix product when it has a single thread."""
PHASES = 2
WIDE_KERNEL = 15
FEW_CHANNELS = 8


class FastLinear(nn.Linear):
    """A linear layer; on a CPU as a 1x1 convolution, which oneDNN does in about half the time of MKL's product.

    The rows are laid out as 16 pictures of one line each, without a copy.
    """

    def forward(self, input: Features) -> Projected:
        num_rows = input.numel() // input.shape[-1]
        if not _is_plain_cpu(input) or num_rows % NUM_PARTS:
            return super().forward(input)
        rows = rearrange(input.reshape(num_rows, -1), "(part n) c -> part c 1 n", part=NUM_PARTS)
        out = nn.functional.conv2d(rows, rearrange(self.weight, "o i -> o i 1 1"), self.bias)
        return rearrange(out, "part c 1 n -> (part n) c").reshape(*input.shape[:-1], -1)


class FastConv2d(nn.Conv2d):
    """A convolution of stride 1 that keeps the size; on a CPU, wide kernels over few channels by ``phased_conv``."""

    def __init__(self, channels_in: int, channels_out: int, kernel_size: int) -> None:
        super().__init__(channels_in, channels_out, kernel_size, padding=kernel_size // 2)
        self._is_phased = kernel_size >= WIDE_KERNEL and channels_in <= FEW_CHANNELS

    def forward(self, input: FeatureMap) -> FeatureMap:
        is_even = input.shape[2] % PHASES == input.shape[3] % PHASES == 0
        if self._is_phased and is_even and _is_plain_cpu(input):
            return phased_conv(input, self)
        return super().forward(input)


def phased_conv(x: FeatureMap, conv: nn.Conv2d) -> FeatureMap:
    """Convolves at half the resolution on four times the channels, so that few channels fill a processor's vectors.

    With x = 2 X + q and y = 2 Y + p, the sum over taps d = x - y of a kernel becomes, for each phase p of the output
    and q of the input, a sum over D = X - Y with tap d = 2 D + q - p: a smaller kernel between more channels.
    """
    radius = conv.kernel_size[0] // 2
    reach = -(-(radius + PHASES - 1) // PHASES)  # of the smaller kernel
    edge = PHASES * (reach + 1) - 1 - radius
    taps = nn.functional.pad(conv.weight, (edge, edge, edge, edge))
    length = PHASES * (2 * reach + 1)
    windows = taps.unfold(2, length, 1).unfold(3, length, 1)  # one that starts s taps on is that of phase p = 1 - s
    weight = rearrange(windows.flip(2, 3), "o i p1 p2 (y q1) (x q2) -> (o p1 p2) (i q1 q2) y x", q1=PHASES, q2=PHASES)
    out = nn.functional.conv2d(nn.functional.pixel_unshuffle(x, PHASES), weight, padding=reach)
    out = nn.functional.pixel_shuffle(out, PHASES)
    return out if conv.bias is None else out + rearrange(conv.bias, "c -> c 1 1")


class FastUpConv2d(nn.Conv2d):
    """Doubles the size by nearest neighbours, then a 3x3 convolution; on a CPU by ``transposed_conv``."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1)

    def forward(self, input: FeatureMap) -> FeatureMap:
        if _is_plain_cpu(input):
            return transposed_conv(input, self)
        return super().forward(nn.functional.interpolate(input, scale_factor=2.0, mode="nearest"))


def transposed_conv(x: FeatureMap, conv: nn.Conv2d) -> FeatureMap:
    """Doubles the size by nearest neighbours and convolves by 3x3 taps, in 4/9 of the products.

    A pixel and its copy reach four places of a line, the outer two by one tap each, the inner two by the sum of two:
    a transposed convolution of stride 2 whose taps are (w3, w2 + w3, w1 + w2, w1).
    """
    taps = rearrange(conv.weight, "o i y x -> i o y x")
    for axis in (2, 3):
        first, middle, last = taps.unbind(axis)
        taps = torch.stack((last, middle + last, first + middle, first), dim=axis)
    return nn.functional.conv_transpose2d(x, taps, conv.bias, stride=2, padding=1)


def modulated_norm(x: FeatureMap, norm: nn.GroupNorm, scale: Vectors, shift: Vectors) -> FeatureMap:
    """Returns norm(x) (1 + scale) + shift; on a CPU in the one pass that the norm takes.

    The groups of all samples are the groups of one sample, whose channels have the gains and biases of both.

    Args:
        scale: of shape (b, c), as is ``shift``.
    """
    scale = scale + 1
    if not (_is_plain_cpu(x) and x.is_contiguous()):
        return norm(x) * rearrange(scale, "b c -> b c 1 1") + rearrange(shift, "b c -> b c 1 1")
    gain, bias = (norm.weight * scale).flatten(), (norm.bias * scale + shift).flatten()
    joined = rearrange(x, "b c h w -> 1 (b c) h w")
    return nn.functional.group_norm(joined, len(x) * norm.num_groups, gain, bias, norm.eps).reshape(x.shape)


def absorbing_pays(pixels: Tokens, key: HeadTokens) -> bool:
    """Returns whether ``absorbed_attention`` can run here, and takes fewer products and no more memory.

    It keeps a weight for each pixel, head and token, twice while the softmax is taken, where fused attention keeps
    queries and outputs.
    """
    (num_pixels, width), (num_tokens, head_dim) = pixels.shape[1:], key.shape[2:]
    absorbed = width * num_tokens * (num_pixels + head_dim)
    is_less = num_tokens <= head_dim and absorbed < num_pixels * head_dim * (width + num_tokens)
    return is_less and _is_plain_cpu(pixels)


def absorbed_attention(
    pixels: Tokens,
    key: HeadTokens,
    value: HeadTokens,
    is_visible: TokenMask,
    to_query: nn.Linear,
    to_out: nn.Linear,
) -> Tokens:
    """Attention of pixels to tokens, its query and output layers included, with these multiplied into keys and values.

    (x Wq) k' = x (Wq k') and (p v) Wo = p (v Wo): the tokens go through the layers instead of the pixels.

    Args:
        pixels: of shape (b, n, c), before ``to_query``.
        key: of shape (b, h, m, d), as is ``value``.
        is_visible: tokens that are attended to, at least one of each sample.
    """
    num_heads, head_dim = key.shape[1], key.shape[3]
    query_weight = rearrange(to_query.weight, "(h d) c -> h d c", h=num_heads) * head_dim**-0.5
    out_weight = rearrange(to_out.weight, "c (h d) -> h d c", h=num_heads)
    keys = rearrange(torch.einsum("bhmd,hdc->bhmc", key, query_weight), "b h m c -> b c (h m)")
    values = rearrange(torch.einsum("bhmd,hdc->bhmc", value, out_weight), "b h m c -> b (h m) c")
    hidden = torch.zeros_like(is_visible, dtype=pixels.dtype).masked_fill(~is_visible, -math.inf)
    scores = torch.baddbmm(repeat(hidden, "b m -> b 1 (h m)", h=num_heads), pixels, keys)
    weights = rearrange(scores, "b n (h m) -> b n h m", h=num_heads).softmax(dim=-1)
    return rearrange(weights, "b n h m -> b n (h m)") @ values


def _is_plain_cpu(x: torch.Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
