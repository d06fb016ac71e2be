"""Two layers computed by another way on processors: the same function and parameters, faster by the measured ratio.

Knows nothing of the network. Elsewhere than on a CPU in fp32 each is torch's own layer.
"""

import torch
from einops import rearrange
from torch import nn

from minimagen.shapes import FeatureMap, Features, Projected

NUM_PARTS = 16
"""torch leaves 1x1 convolutions of fewer pictures to the matrix product when it has a single thread."""
PHASES = 2
WIDE_KERNEL = 15
FEW_CHANNELS = 8


class FastLinear(nn.Linear):
    """A linear layer; on a CPU as a 1x1 convolution, which oneDNN does in about half the time of MKL's product.

    The rows are laid out as 16 pictures of one line each, without a copy. Measured in docs/experiments.md.
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


def _is_plain_cpu(x: torch.Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
