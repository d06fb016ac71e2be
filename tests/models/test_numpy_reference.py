"""Attention and normalisation equal the same formulas written out in NumPy, in float64, on torch's way and on that of
processors."""

import numpy as np
import pytest
import torch
from torch import nn

from minimagen.models.attention import CrossAttention, SelfAttention
from minimagen.models.layers import NUM_GROUPS, ResnetBlock
from tests.models.ways import OWN_OPERATORS, Operators, open_to_float64

EPSILON = 1e-5
TOLERANCE = 1e-10


@pytest.fixture(params=[False, True], ids=["torch's way", "way of processors"])
def is_on_processors(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Opens the way of processors to float64 for one of two runs of a test."""
    if request.param:
        open_to_float64(monkeypatch)
    return request.param


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape)


def weight_of(layer: nn.Linear) -> np.ndarray:
    return layer.weight.detach().numpy()


def seeded(layer: nn.Module) -> nn.Module:
    """Gives every weight, the gains of norms among them, a value of its own."""
    source = torch.Generator().manual_seed(0)
    for parameter in layer.double().parameters():
        nn.init.normal_(parameter, generator=source)
    return layer


def scale_norm(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON) * gain


def softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def attend(
    layer: CrossAttention | SelfAttention, pixels: np.ndarray, keys: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """Attention of one picture: pixels (n, c), keys and values (heads, m, d)."""
    null_key, null_value = layer.null_key_value.detach().numpy()
    heads = []
    for head, query in enumerate(np.split(pixels @ weight_of(layer.to_query).T, layer.num_heads, axis=1)):
        key, value = np.vstack((null_key, keys[head])), np.vstack((null_value, values[head]))
        heads.append(softmax(query @ key.T / np.sqrt(query.shape[1])) @ value)
    return scale_norm(np.hstack(heads) @ weight_of(layer.to_out).T, layer.norm_out.gain.detach().numpy())


def test_cross_attention_with_padding_and_the_learned_nothing(is_on_processors: bool) -> None:
    layer = seeded(CrossAttention(6, context_dim=5, num_heads=3, head_dim=16))
    assert isinstance(layer, CrossAttention)
    x, tokens, lengths = random(2, 6, 3, 4), random(2, 8, 5), (5, 0)
    mask = np.arange(8) < np.array(lengths)[:, None]

    with Operators() as operators:
        out = layer(torch.from_numpy(x), torch.from_numpy(tokens), torch.from_numpy(mask)).detach().numpy()

    assert ({OWN_OPERATORS["attention to tokens"], OWN_OPERATORS["linear"]} <= operators.seen) is is_on_processors
    for sample, length in enumerate(lengths):
        pixels = scale_norm(x[sample].reshape(6, 12).T, layer.norm.gain.detach().numpy())
        projected = tokens[sample, :length] @ weight_of(layer.to_key_value).T
        keys, values = (part.reshape(length, 3, 16).swapaxes(0, 1) for part in np.split(projected, 2, axis=1))
        expected = attend(layer, pixels, keys, values).T.reshape(6, 3, 4)
        np.testing.assert_allclose(out[sample], expected, rtol=0, atol=TOLERANCE)


def test_self_attention_with_one_key_and_value_for_all_heads(is_on_processors: bool) -> None:
    layer = seeded(SelfAttention(6, num_heads=3, head_dim=4))
    assert isinstance(layer, SelfAttention)
    x = random(2, 6, 2, 4)

    with Operators() as operators:
        out = layer(torch.from_numpy(x)).detach().numpy()

    assert (OWN_OPERATORS["linear"] in operators.seen) is is_on_processors
    for sample in range(2):
        pixels = scale_norm(x[sample].reshape(6, 8).T, layer.norm.gain.detach().numpy())
        key, value = np.split(pixels @ weight_of(layer.to_key_value).T, 2, axis=1)
        expected = attend(layer, pixels, np.stack([key] * 3), np.stack([value] * 3)).T.reshape(6, 2, 4)
        np.testing.assert_allclose(out[sample], expected, rtol=0, atol=TOLERANCE)


def group_norm(x: np.ndarray, norm: nn.GroupNorm) -> np.ndarray:
    """The norm of one picture, of shape (c, h, w)."""
    groups = x.reshape(NUM_GROUPS, -1)
    normed = (groups - groups.mean(1, keepdims=True)) / np.sqrt(groups.var(1, keepdims=True) + EPSILON)
    gain, bias = (each.detach().numpy()[:, None, None] for each in (norm.weight, norm.bias))
    return normed.reshape(x.shape) * gain + bias


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1.0 + np.exp(-x))


def test_the_norm_of_a_residual_block_is_over_eight_groups_of_channels_and_all_pixels() -> None:
    block = seeded(ResnetBlock(16, 16, time_dim=4))
    assert isinstance(block, ResnetBlock)
    x = random(2, 16, 3, 5) * 3 + 1

    out = block.norm1(torch.from_numpy(x)).detach().numpy()

    for sample in range(2):
        np.testing.assert_allclose(out[sample], group_norm(x[sample], block.norm1), rtol=0, atol=TOLERANCE)


def test_the_second_norm_of_a_residual_block_is_scaled_and_shifted_by_each_samples_time(is_on_processors: bool) -> None:
    """silu(norm(h) (1 + scale) + shift): scale is the first half of what a layer makes of silu(time)."""
    block = seeded(ResnetBlock(8, 16, time_dim=4))
    assert isinstance(block, ResnetBlock)
    x, time = random(2, 8, 3, 5) * 3 + 1, random(2, 4)
    between: list[np.ndarray] = []
    block.conv1.register_forward_hook(lambda _layer, _given, out: between.append(out.detach().numpy()))
    block.conv2.register_forward_pre_hook(lambda _layer, given: between.append(given[0].detach().numpy()))

    with Operators() as operators:
        block(torch.from_numpy(x), torch.from_numpy(time))

    assert (OWN_OPERATORS["modulated norm"] in operators.seen) is is_on_processors
    told = silu(time) @ weight_of(block.to_scale_shift).T + block.to_scale_shift.bias.detach().numpy()
    before, after = between
    for sample in range(2):
        scale, shift = np.split(told[sample][:, None, None], 2)
        expected = silu(group_norm(before[sample], block.norm2) * (1.0 + scale) + shift)
        np.testing.assert_allclose(after[sample], expected, rtol=0, atol=TOLERANCE)
