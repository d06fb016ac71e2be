"""The blocks of Inception-v3 (Szegedy et al. 2016, figures 5 to 7 and 10), under the names that torchvision gives.

Knows neither weights nor pictures.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from minimagen.shapes import FeatureMap

Pool = Callable[[FeatureMap], FeatureMap]


def mean_pool(x: FeatureMap, *, counts_border: bool = True) -> FeatureMap:
    """Averages 3 x 3 neighbours; at the border over what lies in the picture, or over the zeros around it as well."""
    return functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=counts_border)


def max_pool(x: FeatureMap) -> FeatureMap:
    """Takes the largest of 3 x 3 neighbours."""
    return functional.max_pool2d(x, 3, stride=1, padding=1)


def halve(x: FeatureMap) -> FeatureMap:
    """Takes the largest of 3 x 3 neighbours at every other place."""
    return functional.max_pool2d(x, 3, stride=2)


class Convolution(nn.Module):
    """Convolution, batch norm by running statistics, ReLU."""

    def __init__(
        self, within: int, out: int, size: int | tuple[int, int], *, stride: int = 1, padding: int | tuple[int, int] = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(within, out, size, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, x: FeatureMap) -> FeatureMap:
        return functional.relu(self.bn(self.conv(x)))


class BlockA(nn.Module):
    """1x1, 5x5, two 3x3 and a pooling, side by side."""

    def __init__(self, within: int, pooled: int, pool: Pool) -> None:
        super().__init__()
        self._pool = pool
        self.branch1x1 = Convolution(within, 64, 1)
        self.branch5x5_1 = Convolution(within, 48, 1)
        self.branch5x5_2 = Convolution(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Convolution(within, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, padding=1)
        self.branch_pool = Convolution(within, pooled, 1)

    def forward(self, x: FeatureMap) -> FeatureMap:
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, three, self.branch_pool(self._pool(x))], dim=1)


class BlockB(nn.Module):
    """Halves the resolution."""

    def __init__(self, within: int) -> None:
        super().__init__()
        self.branch3x3 = Convolution(within, 384, 3, stride=2)
        self.branch3x3dbl_1 = Convolution(within, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, stride=2)

    def forward(self, x: FeatureMap) -> FeatureMap:
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), three, halve(x)], dim=1)


class BlockC(nn.Module):
    """7x7 as rows and columns."""

    def __init__(self, within: int, inner: int, pool: Pool) -> None:
        super().__init__()
        self._pool = pool
        self.branch1x1 = Convolution(within, 192, 1)
        self.branch7x7_1 = Convolution(within, inner, 1)
        self.branch7x7_2 = Convolution(inner, inner, (1, 7), padding=(0, 3))
        self.branch7x7_3 = Convolution(inner, 192, (7, 1), padding=(3, 0))
        self.branch7x7dbl_1 = Convolution(within, inner, 1)
        self.branch7x7dbl_2 = Convolution(inner, inner, (7, 1), padding=(3, 0))
        self.branch7x7dbl_3 = Convolution(inner, inner, (1, 7), padding=(0, 3))
        self.branch7x7dbl_4 = Convolution(inner, inner, (7, 1), padding=(3, 0))
        self.branch7x7dbl_5 = Convolution(inner, 192, (1, 7), padding=(0, 3))
        self.branch_pool = Convolution(within, 192, 1)

    def forward(self, x: FeatureMap) -> FeatureMap:
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), seven, double, self.branch_pool(self._pool(x))], dim=1)


class BlockD(nn.Module):
    """Halves the resolution once more."""

    def __init__(self, within: int) -> None:
        super().__init__()
        self.branch3x3_1 = Convolution(within, 192, 1)
        self.branch3x3_2 = Convolution(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Convolution(within, 192, 1)
        self.branch7x7x3_2 = Convolution(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = Convolution(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = Convolution(192, 192, 3, stride=2)

    def forward(self, x: FeatureMap) -> FeatureMap:
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), seven, halve(x)], dim=1)


class BlockE(nn.Module):
    """Rows and columns of 3, side by side."""

    def __init__(self, within: int, pool: Pool) -> None:
        super().__init__()
        self._pool = pool
        self.branch1x1 = Convolution(within, 320, 1)
        self.branch3x3_1 = Convolution(within, 384, 1)
        self.branch3x3_2a = Convolution(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = Convolution(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = Convolution(within, 448, 1)
        self.branch3x3dbl_2 = Convolution(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = Convolution(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = Convolution(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = Convolution(within, 192, 1)

    def forward(self, x: FeatureMap) -> FeatureMap:
        three, double = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        tips = [self.branch3x3_2a(three), self.branch3x3_2b(three)]
        tips += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)]
        return torch.cat([self.branch1x1(x), *tips, self.branch_pool(self._pool(x))], dim=1)
