"""Every part's gradients, of inputs and of weights, are finite differences (in float64)."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck
from torch.func import functional_call

from minimagen.models.attention import CrossAttention, FeedForward, SelfAttention, TransformerBlock
from minimagen.models.conditioning import TextConditioner, TimeConditioner
from minimagen.models.layers import CrossEmbed, Downsample, ResnetBlock, Upsample, Widen
from tests.models.checks import check_gradients_are_differences
from tests.models.test_unet import inputs, tiny_unet
from tests.models.ways import OWN_OPERATORS, Operators, open_to_float64

MASK = torch.tensor([[True, True, False], [True, False, False]])
ONE_WITHOUT_TOKENS = torch.tensor([[True, True, False], [False, False, False]])
DROPPED = torch.tensor([True, False])


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(len(shape)))


def cross_attention(dim: int) -> CrossAttention:
    return CrossAttention(dim, context_dim=3, num_heads=2, head_dim=4)


Case = tuple[Callable[[], nn.Module], list[torch.Tensor]]
PARTS: dict[str, Case] = {
    "residual block": (lambda: ResnetBlock(8, 16, time_dim=5), [normal(2, 8, 3, 4), normal(2, 5)]),
    "residual block that hears the caption": (
        lambda: ResnetBlock(8, 8, time_dim=5, cross_attention=cross_attention(8)),
        [normal(2, 8, 3, 2), normal(2, 5), normal(2, 3, 3), MASK],
    ),
    "cross attention": (lambda: cross_attention(6), [normal(2, 6, 3, 2), normal(2, 3, 3), ONE_WITHOUT_TOKENS]),
    "self attention": (lambda: SelfAttention(6, num_heads=2, head_dim=4), [normal(2, 6, 3, 2)]),
    "transformer block": (lambda: TransformerBlock(6, num_heads=2, head_dim=4), [normal(2, 6, 3, 2)]),
    "feed-forward layers": (lambda: FeedForward(6), [normal(2, 6, 3, 2)]),
    "downsampling": (lambda: Downsample(3, 5), [normal(2, 3, 4, 6)]),
    "upsampling": (lambda: Upsample(3, 5), [normal(2, 3, 2, 3)]),
    "widening": (lambda: Widen(3, 5), [normal(2, 3, 4, 3)]),
    "first convolution": (lambda: CrossEmbed(3, 8, (3, 5, 7)), [normal(2, 3, 5, 6)]),
    "time": (lambda: TimeConditioner(8, time_dim=6, cond_dim=3), [normal(2).sigmoid()]),
    "caption": (
        lambda: TextConditioner(4, time_dim=6, cond_dim=3, num_null_tokens=2),
        [normal(2, 3, 4), MASK, DROPPED],
    ),
}


PARTS_ON_PROCESSORS: dict[str, Case] = {
    "linear": (lambda: TransformerBlock(6, num_heads=2, head_dim=4), [normal(2, 6, 4, 4)]),
    "widest convolution": (lambda: CrossEmbed(3, 8, (3, 5, 15)), [normal(2, 3, 4, 6)]),
    "upsampling": (lambda: Upsample(3, 5), [normal(2, 3, 2, 3)]),
    "modulated norm": (lambda: ResnetBlock(8, 16, time_dim=5), [normal(2, 8, 3, 4), normal(2, 5)]),
    "attention to tokens": (
        lambda: cross_attention(6),
        [normal(2, 6, 4, 4), normal(2, 3, 3), ONE_WITHOUT_TOKENS],
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_gradients_of_a_part_are_finite_differences(name: str) -> None:
    build, values = PARTS[name]

    check_gradients_of_a_part(seeded(build), values)


@pytest.mark.parametrize("name", PARTS_ON_PROCESSORS)
def test_gradients_of_a_part_on_its_way_on_processors_are_finite_differences(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, values = PARTS_ON_PROCESSORS[name]
    open_to_float64(monkeypatch)
    part = seeded(build)

    with Operators() as operators:
        part(*values)
    check_gradients_of_a_part(part, values)

    assert OWN_OPERATORS[name] in operators.seen


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    """Builds a part in float64 from weights that depend on nothing else."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build().double()


def check_gradients_of_a_part(part: nn.Module, values: list[torch.Tensor]) -> None:
    """The gradients of all inputs and weights along a random direction are central differences (in float64)."""
    weights = {key: value.detach().requires_grad_() for key, value in part.named_parameters()}
    values = [value.clone().requires_grad_(value.is_floating_point()) for value in values]

    def computed(*tensors: torch.Tensor) -> list[torch.Tensor]:
        given, changed = tensors[: len(values)], tensors[len(values) :]
        out = functional_call(part, dict(zip(weights, changed, strict=True)), given)
        return [each for each in (out if isinstance(out, tuple) else (out,)) if each.is_floating_point()]

    assert gradcheck(computed, (*values, *weights.values()), eps=1e-6, atol=1e-5, rtol=1e-3, fast_mode=True)


@pytest.mark.parametrize("is_on_processors", [False, True], ids=["torch's way", "way of processors"])
@pytest.mark.parametrize("memory_efficient", [False, True])
def test_gradients_of_a_whole_network_are_finite_differences(
    memory_efficient: bool, is_on_processors: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    unet = tiny_unet(memory_efficient=memory_efficient, attend_at_middle=True, final_skip=True).double()
    batch = {name: value.double() if value.is_floating_point() else value for name, value in inputs(2, 16).items()}
    if is_on_processors:
        open_to_float64(monkeypatch)

    with Operators() as operators:
        check_gradients_are_differences(unet, batch)

    own = {*OWN_OPERATORS.values()} - {"conv2d"}  # which has convolutions of torch's too
    assert own & operators.seen == (own if is_on_processors else set())
