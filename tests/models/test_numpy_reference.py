"""Attention and normalisation equal the same formulas written out in NumPy, in float64."""

import numpy as np
import torch
from torch import nn

from minimagen.models.attention import CrossAttention, SelfAttention
from minimagen.models.layers import NUM_GROUPS, ResnetBlock

EPSILON = 1e-5
TOLERANCE = 1e-10


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


def test_cross_attention_with_padding_and_the_learned_nothing() -> None:
    layer = seeded(CrossAttention(6, context_dim=5, num_heads=3, head_dim=4))
    assert isinstance(layer, CrossAttention)
    x, tokens, lengths = random(2, 6, 3, 4), random(2, 7, 5), (5, 0)
    mask = np.arange(7) < np.array(lengths)[:, None]

    out = layer(torch.from_numpy(x), torch.from_numpy(tokens), torch.from_numpy(mask)).detach().numpy()

    for sample, length in enumerate(lengths):
        pixels = scale_norm(x[sample].reshape(6, 12).T, layer.norm.gain.detach().numpy())
        projected = tokens[sample, :length] @ weight_of(layer.to_key_value).T
        keys, values = (part.reshape(length, 3, 4).swapaxes(0, 1) for part in np.split(projected, 2, axis=1))
        expected = attend(layer, pixels, keys, values).T.reshape(6, 3, 4)
        np.testing.assert_allclose(out[sample], expected, rtol=0, atol=TOLERANCE)


def test_self_attention_with_one_key_and_value_for_all_heads() -> None:
    layer = seeded(SelfAttention(6, num_heads=3, head_dim=4))
    assert isinstance(layer, SelfAttention)
    x = random(2, 6, 3, 4)

    out = layer(torch.from_numpy(x)).detach().numpy()

    for sample in range(2):
        pixels = scale_norm(x[sample].reshape(6, 12).T, layer.norm.gain.detach().numpy())
        key, value = np.split(pixels @ weight_of(layer.to_key_value).T, 2, axis=1)
        expected = attend(layer, pixels, np.stack([key] * 3), np.stack([value] * 3)).T.reshape(6, 3, 4)
        np.testing.assert_allclose(out[sample], expected, rtol=0, atol=TOLERANCE)


def test_the_norm_of_a_residual_block_is_over_eight_groups_of_channels_and_all_pixels() -> None:
    block = seeded(ResnetBlock(16, 16, time_dim=4))
    assert isinstance(block, ResnetBlock)
    x = random(2, 16, 3, 5) * 3 + 1

    out = block.norm1(torch.from_numpy(x)).detach().numpy()

    for sample in range(2):
        groups = x[sample].reshape(NUM_GROUPS, 2 * 15)
        normed = (groups - groups.mean(1, keepdims=True)) / np.sqrt(groups.var(1, keepdims=True) + EPSILON)
        gain, bias = (each.detach().numpy()[:, None, None] for each in (block.norm1.weight, block.norm1.bias))
        expected = normed.reshape(16, 3, 5) * gain + bias
        np.testing.assert_allclose(out[sample], expected, rtol=0, atol=TOLERANCE)
