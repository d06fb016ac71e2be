import torch
from torch.testing import assert_close

from minimagen.models.attention import CrossAttention, ScaleNorm, SelfAttention


def softmax_attention(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    weights = (keys @ query / len(query) ** 0.5).softmax(dim=0)
    return weights @ values


def test_cross_attention_equals_a_loop_over_pixels_and_heads() -> None:
    torch.manual_seed(0)
    layer = CrossAttention(4, context_dim=3, num_heads=2, head_dim=5)
    x, tokens, mask = torch.randn(1, 4, 2, 3), torch.randn(1, 6, 3), torch.tensor([[True] * 4 + [False] * 2])

    out = layer(x, tokens, mask)

    keys, values = layer.to_key_value(tokens[0, :4]).chunk(2, dim=-1)
    for row, column in ((0, 0), (1, 2)):
        query = layer.to_query(layer.norm(x[0, :, row, column]))
        heads = [
            softmax_attention(
                query[5 * head : 5 * head + 5],
                torch.cat((layer.null_key_value[:1], keys[:, 5 * head : 5 * head + 5])),
                torch.cat((layer.null_key_value[1:], values[:, 5 * head : 5 * head + 5])),
            )
            for head in range(2)
        ]
        assert_close(out[0, :, row, column], layer.norm_out(layer.to_out(torch.cat(heads))), rtol=1e-4, atol=1e-5)


def test_self_attention_shares_one_key_and_value_among_its_heads() -> None:
    torch.manual_seed(0)
    layer = SelfAttention(4, num_heads=2, head_dim=5)
    x = torch.randn(1, 4, 2, 2)

    out = layer(x)

    pixels = layer.norm(x[0].flatten(1).T)
    keys, values = (
        torch.cat((null[None], part))
        for null, part in zip(layer.null_key_value, layer.to_key_value(pixels).chunk(2, dim=-1), strict=True)
    )
    query = layer.to_query(pixels[3])
    heads = [softmax_attention(query[:5], keys, values), softmax_attention(query[5:], keys, values)]
    assert_close(out[0, :, 1, 1], layer.norm_out(layer.to_out(torch.cat(heads))), rtol=1e-4, atol=1e-5)


def test_scale_norm_gives_zero_mean_and_unit_variance() -> None:
    x = torch.randn(2, 3, 64) * 5 + 2

    normed = ScaleNorm(64)(x)

    assert_close(normed.mean(-1), torch.zeros(2, 3), rtol=0, atol=1e-5)
    assert_close(normed.var(-1, unbiased=False), torch.ones(2, 3), rtol=0, atol=1e-3)
