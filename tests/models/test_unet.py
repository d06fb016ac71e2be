from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from minimagen.config import UNetConfig, load_params
from minimagen.models.unet import UNet
from minimagen.text.names import TINY_TEXT_DIM
from tests.models.checks import check_every_weight_learns, check_the_caption_is_heard, check_the_time_is_heard

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


def tiny_unet(*, has_low_res: bool = NO, is_recomputing: bool = NO, **changes: object) -> UNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet(tiny_config(**changes), text_dim=5, has_low_res=has_low_res, is_recomputing=is_recomputing)
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


@pytest.mark.parametrize("memory_efficient", [NO, YES])
def test_a_batch_of_eight_equals_eight_single_pictures(memory_efficient: bool) -> None:
    unet, batch = tiny_unet(memory_efficient=memory_efficient, attend_at_middle=YES), inputs(8, size=16)
    torch.nn.init.normal_(unet.last.weight, std=0.05, generator=torch.Generator().manual_seed(0))

    together = unet(**batch)
    alone = torch.cat([unet(**{name: value[i : i + 1] for name, value in batch.items()}) for i in range(8)])

    assert together.std() > 0.15  # nearly as large as pictures: the tolerance means something
    assert_close(together, alone, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", ["base", "super"])
def test_eight_pictures_of_the_demos_networks_equal_eight_single_ones_without_padding(
    name: str, checkout: Path
) -> None:
    section, draw = load_params(checkout / "experiments/demo.yaml").unets[name], torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet(section.unet, text_dim=TINY_TEXT_DIM, has_low_res=name == "super").eval()
    torch.nn.init.normal_(unet.last.weight, std=0.14 * section.unet.dim**-0.5, generator=draw)
    batch = inputs(8, size=section.image_size)
    batch["text_embeds"] = torch.randn(8, 8, TINY_TEXT_DIM, generator=draw)
    batch["text_mask"] = torch.arange(8) < torch.arange(1, 9)[:, None]
    if name == "super":
        batch |= {"low_res": batch["xt"].flip(0).clamp(-1, 1), "low_res_level": torch.rand(8, generator=draw)}

    def alone(index: int) -> torch.Tensor:
        one = {key: value[index : index + 1] for key, value in batch.items()}
        return unet(**one | {key: one[key][:, : index + 1] for key in ("text_embeds", "text_mask")})

    with torch.inference_mode():
        together, singles = unet(**batch), torch.cat([alone(index) for index in range(8)])

    assert together.std() > 0.1  # nearly as large as pictures: the tolerance means something
    assert_close(together, singles, rtol=0, atol=2e-6)


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
        "low_res": torch.ones(1, 3, 8, 8),
        "low_res_level": torch.ones(1),
    }

    before = unet(**batch)

    check_the_caption_is_heard(unet, batch)
    check_the_time_is_heard(unet, batch)
    for name, value in changes.items():
        assert not torch.allclose(unet(**(batch | {name: value})), before, atol=1e-4), name


def test_an_entirely_masked_caption_stays_finite() -> None:
    unet, batch = tiny_unet(), inputs(2)
    batch["text_mask"] = torch.zeros(2, 4, dtype=torch.bool)

    assert unet(**batch).isfinite().all()


def test_every_weight_learns() -> None:
    unet = tiny_unet(has_low_res=YES, hears_warp=YES, final_skip=YES)
    batch = inputs(2) | {"low_res": torch.randn(2, 3, 8, 8), "low_res_level": torch.rand(2), "warp": torch.randn(2, 4)}

    check_every_weight_learns(unet, batch | {"is_dropped": torch.tensor([YES, NO])})


@pytest.mark.parametrize("memory_efficient", [NO, YES])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_recomputing_levels_gives_the_same_gradients_and_random_numbers(memory_efficient: bool, dropout: float) -> None:
    settings = {"memory_efficient": memory_efficient, "final_skip": YES, "dropout": dropout}
    found = []
    for is_recomputing in (NO, YES):
        unet = tiny_unet(is_recomputing=is_recomputing, **settings).train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            unet(**inputs(2), is_dropped=torch.tensor([YES, NO])).square().mean().backward()
            found.append((dict(unet.named_parameters()), torch.rand(1)))

    (kept, after_kept), (recomputed, after_recomputed) = found
    assert torch.equal(after_kept, after_recomputed)
    for name, parameter in kept.items():
        assert parameter.grad is not None
        assert_close(recomputed[name].grad, parameter.grad, rtol=0, atol=0, msg=name)


def test_recomputing_keeps_fewer_activations() -> None:
    kept = []
    for is_recomputing in (NO, YES):
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, sizes=sizes: sizes.append(x.numel()) or x, lambda x: x):
            tiny_unet(is_recomputing=is_recomputing)(**inputs(8, size=16))
        kept.append(sum(sizes))

    assert kept[1] < kept[0] / 3


def test_a_network_that_hears_warps_draws_as_if_there_were_none_when_not_told() -> None:
    unet, batch, warp = tiny_unet(hears_warp=YES), inputs(2), torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.5, 0.0, 1.0, 0.0]])

    plain, told = unet(**batch), unet(**batch, warp=warp)

    assert_close(told[0], plain[0], rtol=0, atol=1e-6)
    assert not torch.allclose(told[1], plain[1], atol=1e-3)


def test_hearing_warps_changes_no_other_weight() -> None:
    plain, hearing = tiny_unet().state_dict(), tiny_unet(hears_warp=YES).state_dict()

    assert hearing.keys() - plain.keys() == {"warp.weight"}
    assert all(torch.equal(hearing[name], value) for name, value in plain.items() if not name.startswith("last."))
