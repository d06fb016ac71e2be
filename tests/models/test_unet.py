import pytest
import torch
from torch.testing import assert_close

from minimagen.config import UNetConfig
from minimagen.models.unet import UNet

YES, NO = True, False

GOLDEN = {
    "paper-8 base": ((8, (1, 2), (1, 1), (NO, NO), NO), 106_163),
    "paper-8 super": ((8, (1, 2), (1, 2), (NO, NO), YES), 158_147),
    "paper-256 base": ((256, (1, 2, 4), (2, 2, 2), (NO, YES, YES), NO), 215_380_227),
    "paper-256 super": ((128, (1, 2, 4), (2, 4, 8), (NO, NO, YES), YES), 181_185_411),
    "paper-512 base": ((512, (1, 2, 3, 4), (3, 3, 3, 3), (NO, YES, YES, YES), NO), 1_618_466_051),
    "paper-512 super": ((128, (1, 2, 4, 8), (2, 4, 8, 8), (NO, NO, NO, YES), YES), 715_760_003),
}


def tiny_config(**changes: object) -> UNetConfig:
    settings: dict[str, object] = {
        "dim": 8,
        "dim_mults": (1, 2),
        "num_resnet_blocks": (1, 1),
        "layer_attns": (NO, YES),
        "layer_cross_attns": (NO, YES),
        "memory_efficient": NO,
        "attn_heads": 2,
        "attn_head_dim": 8,
        "num_null_tokens": 3,
    }
    return UNetConfig.model_validate(settings | changes)


def tiny_unet(*, has_low_res: bool = NO, **changes: object) -> UNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet(tiny_config(**changes), text_dim=5, has_low_res=has_low_res)
        torch.nn.init.normal_(unet.last.weight)
    return unet.eval()


def inputs(batch: int, size: int = 8, tokens: int = 4) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    return {
        "xt": torch.randn(batch, 3, size, size, generator=draw),
        "t": torch.rand(batch, generator=draw),
        "text_embeds": torch.randn(batch, tokens, 5, generator=draw),
        "text_mask": torch.arange(tokens) < torch.randint(1, tokens + 1, (batch, 1), generator=draw),
    }


@pytest.mark.parametrize("name", GOLDEN)
def test_parameter_counts_equal_the_original_networks(name: str) -> None:
    (dim, mults, blocks, attns, memory_efficient), expected = GOLDEN[name]
    config = UNetConfig(
        dim=dim,
        dim_mults=mults,
        num_resnet_blocks=blocks,
        layer_attns=attns,
        layer_cross_attns=attns,
        memory_efficient=memory_efficient,
    )
    with torch.device("meta"):
        unet = UNet(config, text_dim=768, has_low_res=name.endswith("super"))

    assert sum(parameter.numel() for parameter in unet.parameters()) == expected


def test_a_fresh_network_predicts_zero() -> None:
    unet = UNet(tiny_config(), text_dim=5, has_low_res=NO)

    assert_close(unet(**inputs(2)), torch.zeros(2, 3, 8, 8), rtol=0, atol=0)


@pytest.mark.parametrize("memory_efficient", [NO, YES])
@pytest.mark.parametrize("size", [4, 12])
def test_output_has_the_shape_of_the_picture(memory_efficient: bool, size: int) -> None:
    unet = tiny_unet(memory_efficient=memory_efficient, attend_at_middle=YES)

    assert unet(**inputs(1, size=size)).shape == (1, 3, size, size)


def test_a_batch_equals_its_samples_one_by_one() -> None:
    unet, batch = tiny_unet(), inputs(3)

    together = unet(**batch)
    alone = torch.cat([unet(**{name: value[i : i + 1] for name, value in batch.items()}) for i in range(3)])

    assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_padding_changes_nothing_whatever_it_holds() -> None:
    unet, batch = tiny_unet(), inputs(2)
    padded = dict(batch)
    padded["text_embeds"] = torch.cat((batch["text_embeds"], torch.full((2, 3, 5), 1e3)), dim=1)
    padded["text_mask"] = torch.cat((batch["text_mask"], torch.zeros(2, 3, dtype=torch.bool)), dim=1)

    assert_close(unet(**padded), unet(**batch), rtol=1e-4, atol=1e-5)


def test_a_dropped_caption_has_no_influence() -> None:
    unet, batch, other = tiny_unet(), inputs(2), inputs(2, tokens=6)
    dropped = torch.tensor([YES, NO])

    first = unet(**batch, is_dropped=dropped)
    second = unet(**(other | {"xt": batch["xt"], "t": batch["t"]}), is_dropped=dropped)

    assert_close(first[0], second[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(first[1], second[1], atol=1e-3)


def test_dropping_none_equals_not_asking() -> None:
    unet, batch = tiny_unet(), inputs(2)

    assert_close(unet(**batch, is_dropped=torch.zeros(2, dtype=torch.bool)), unet(**batch), rtol=1e-4, atol=1e-5)


def test_caption_and_time_and_low_resolution_picture_are_heard() -> None:
    unet, batch = tiny_unet(has_low_res=YES, memory_efficient=YES), inputs(1)
    batch |= {"low_res": torch.zeros(1, 3, 8, 8), "low_res_level": torch.zeros(1)}
    changes = {
        "t": batch["t"] + 0.3,
        "text_embeds": -batch["text_embeds"],
        "low_res": torch.ones(1, 3, 8, 8),
        "low_res_level": torch.ones(1),
    }

    before = unet(**batch)

    for name, value in changes.items():
        assert not torch.allclose(unet(**(batch | {name: value})), before, atol=1e-4), name


def test_an_entirely_masked_caption_stays_finite() -> None:
    unet, batch = tiny_unet(), inputs(2)
    batch["text_mask"] = torch.zeros(2, 4, dtype=torch.bool)

    assert unet(**batch).isfinite().all()


def test_every_parameter_gets_a_gradient() -> None:
    unet = tiny_unet(has_low_res=YES)
    batch = inputs(2) | {"low_res": torch.randn(2, 3, 8, 8), "low_res_level": torch.rand(2)}

    unet(**batch, is_dropped=torch.tensor([YES, NO])).square().mean().backward()

    silent = [name for name, parameter in unet.named_parameters() if parameter.grad is None]
    assert silent == []
