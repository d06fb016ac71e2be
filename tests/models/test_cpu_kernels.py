from collections.abc import Sequence

import pytest
import torch
from torch import nn

from minimagen.models.attention import CrossAttention
from minimagen.models.cpu_kernels import (
    FastConv2d,
    FastLinear,
    FastUpConv2d,
    absorbing_pays,
    modulated_norm,
    phased_conv,
    transposed_conv,
)
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


def test_a_transposed_convolution_enlarges_and_convolves() -> None:
    conv = FastUpConv2d(6, 4).double()
    x = normal(2, 6, 5, 7, dtype=torch.float64).requires_grad_()
    weights = normal(2, 4, 10, 14, seed=1, dtype=torch.float64)
    expected = conv(x)  # in double precision by interpolation

    out = transposed_conv(x, conv)

    grads = [torch.autograd.grad((y * weights).sum(), [x, *conv.parameters()]) for y in (out, expected)]
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    for found, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-11)
    assert torch.equal(conv.float()(x.float()), transposed_conv(x.float(), conv))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["rows", "channels last"])
def test_a_modulated_norm_is_the_norm_then_scale_and_shift(layout: torch.memory_format) -> None:
    norm = nn.GroupNorm(2, 6)
    nn.init.normal_(norm.weight, generator=generator(3))
    nn.init.normal_(norm.bias, generator=generator(4))
    x = normal(3, 6, 4, 5).contiguous(memory_format=layout).requires_grad_()
    scale, shift = (normal(3, 6, seed=seed).requires_grad_() for seed in (1, 2))
    expected = norm(x) * (scale[:, :, None, None] + 1) + shift[:, :, None, None]

    out = modulated_norm(x, norm, scale, shift)

    assert_same(out, expected, [x, scale, shift, *norm.parameters()], normal(3, 6, 4, 5, seed=5))


@pytest.mark.parametrize(
    ("num_pixels", "num_tokens", "is_absorbed"),
    [(64, 5, True), (9, 30, False), (1024, 31, True), (1024, 32, False)],
    ids=["few", "more products", "as much memory", "more memory"],
)
def test_few_tokens_go_through_the_layers_instead_of_the_pixels(
    num_pixels: int, num_tokens: int, is_absorbed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = int(num_pixels**0.5)
    layer = CrossAttention(16, context_dim=8, num_heads=4, head_dim=32)
    x, tokens = normal(3, 16, side, side).requires_grad_(), normal(3, num_tokens, 8, seed=1).requires_grad_()
    mask = torch.arange(num_tokens) < torch.tensor([[0], [2], [num_tokens]])
    assert absorbing_pays(torch.empty(3, num_pixels, 16), torch.empty(3, 4, num_tokens + 1, 32)) == is_absorbed
    out = layer(x, tokens, mask)
    monkeypatch.setattr("minimagen.models.attention.absorbing_pays", lambda *_: False)

    expected = layer(x, tokens, mask)

    assert torch.equal(out, expected) is not is_absorbed
    assert_same(out, expected, [x, tokens, *layer.parameters()], normal(3, 16, side, side, seed=2))


def assert_same(
    out: torch.Tensor, expected: torch.Tensor, inputs: Sequence[torch.Tensor], weights: torch.Tensor
) -> None:
    """Compares values and the gradients of a weighted sum, to the rounding of fp32."""
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    grads = [torch.autograd.grad((y * weights).sum(), inputs, retain_graph=True) for y in (out, expected)]
    for found, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
