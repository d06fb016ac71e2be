import math

import pytest
import torch
from torch.testing import assert_close

from minimagen.models.layers import CrossEmbed, Downsample, ResnetBlock, SinusoidalEmbedding, Upsample


def test_sinusoidal_embedding_equals_its_formula() -> None:
    t, dim = 0.25, 8

    embedding = SinusoidalEmbedding(dim)(torch.tensor([t]))[0]

    angles = [250.0 * 10_000 ** (-i / 3) for i in range(4)]
    expected = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    assert_close(embedding, torch.tensor(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kernels", "widths"), [((3, 7, 15), [8, 4, 4]), ((3,), [16]), ((3, 7), [8, 8])])
def test_cross_embed_gives_half_of_the_channels_to_the_smallest_kernel(
    kernels: tuple[int, ...], widths: list[int]
) -> None:
    layer = CrossEmbed(3, 16, kernels)

    assert [conv.out_channels for conv in layer.convs if isinstance(conv, torch.nn.Conv2d)] == widths
    assert layer(torch.zeros(1, 3, 5, 6)).shape == (1, 16, 5, 6)


def test_up_undoes_the_size_change_of_down() -> None:
    x = torch.zeros(1, 4, 8, 12)

    assert Upsample(6, 4)(Downsample(4, 6)(x)).shape == x.shape


def test_resnet_block_with_silent_last_convolution_is_its_shortcut() -> None:
    block = ResnetBlock(8, 8, time_dim=4)
    torch.nn.init.zeros_(block.conv2.weight)
    torch.nn.init.zeros_(block.conv2.bias)  # pyright: ignore[reportArgumentType]
    x = torch.randn(2, 8, 4, 4)

    assert_close(block(x, torch.randn(2, 4)), x, rtol=0, atol=0)


def test_dropout_acts_in_training_only() -> None:
    block, x, time = ResnetBlock(8, 8, time_dim=4, dropout=0.5), torch.randn(1, 8, 4, 4), torch.randn(1, 4)

    assert_close(block.eval()(x, time), block.eval()(x, time), rtol=0, atol=0)
    assert not torch.equal(block.train()(x, time), block.train()(x, time))
