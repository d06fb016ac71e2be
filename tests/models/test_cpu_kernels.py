import pytest
import torch
from torch import nn

from minimagen.models.cpu_kernels import FastConv2d, FastLinear, phased_conv
from minimagen.seeding import generator


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


@pytest.mark.parametrize("shape", [(8, 64, 48), (2, 4, 4, 48), (3, 5, 48)], ids=["rows", "map", "odd"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_fast_linear_layer_is_a_linear_layer(shape: tuple[int, ...], bias: bool) -> None:
    layer, x = FastLinear(48, 32, bias=bias), normal(*shape).requires_grad_()
    expected = nn.functional.linear(x, layer.weight, layer.bias)

    out = layer(x)

    grads = [torch.autograd.grad(y.square().sum(), [x, *layer.parameters()]) for y in (out, expected)]
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    for found, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("kernel_size", "size"), [(3, 4), (5, 32), (7, 8), (15, 16)])
def test_a_convolution_by_phases_is_the_convolution(kernel_size: int, size: int) -> None:
    conv = nn.Conv2d(6, 8, kernel_size, padding=kernel_size // 2).double()
    x = normal(2, 6, size, size + 2, dtype=torch.float64).requires_grad_()
    weights = normal(2, 8, size, size + 2, seed=1, dtype=torch.float64)
    expected = conv(x)

    out = phased_conv(x, conv)

    grads = [torch.autograd.grad((y * weights).sum(), [x, *conv.parameters()]) for y in (out, expected)]
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    for found, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("size", [16, 17])
def test_the_widest_kernel_goes_by_phases_where_the_size_is_even(size: int) -> None:
    conv, x = FastConv2d(6, 8, 15), normal(2, 6, size, size)
    expected = nn.functional.conv2d(x, conv.weight, conv.bias, padding=7)

    torch.testing.assert_close(conv(x), expected, rtol=1e-4, atol=1e-5)


def test_half_precision_takes_the_usual_way() -> None:
    layer, x = FastLinear(16, 16).bfloat16(), normal(32, 16).bfloat16()

    assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))
