"""Where the U-Net halves the resolution, joins its skips and attends is what its parameters say."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from minimagen.config import UNetConfig
from minimagen.models.attention import CrossAttention, SelfAttention
from minimagen.models.layers import ResnetBlock
from minimagen.models.unet import DownLevel, UNet, UpLevel

SIZE = 16


def small_unet(**changes: object) -> UNet:
    settings: dict[str, object] = {
        "dim": 8,
        "dim_mults": (1, 2, 2),
        "num_resnet_blocks": (1, 2, 1),
        "layer_attns": (False, False, True),
        "layer_cross_attns": (False, True, False),
        "memory_efficient": False,
        "attn_heads": 2,
        "attn_head_dim": 4,
        "num_null_tokens": 2,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet(UNetConfig.model_validate(settings | changes), text_dim=5, has_low_res=False).eval()


def run(unet: UNet) -> None:
    draw = torch.Generator().manual_seed(1)
    picture = torch.randn(2, 3, SIZE, SIZE, generator=draw)
    text_embeds = torch.randn(2, 4, 5, generator=draw)
    unet(picture, torch.rand(2, generator=draw), text_embeds=text_embeds, text_mask=torch.ones(2, 4).bool())


def sides_of_first_blocks(unet: UNet) -> list[int]:
    sides: list[int] = []
    for down in unet.downs:
        assert isinstance(down, DownLevel)
        down.first.register_forward_hook(lambda _, __, output: sides.append(output.shape[-1]))
    run(unet)
    return sides


def test_a_memory_efficient_level_halves_the_resolution_before_its_blocks() -> None:
    assert sides_of_first_blocks(small_unet(memory_efficient=False)) == [16, 8, 4]
    assert sides_of_first_blocks(small_unet(memory_efficient=True)) == [8, 4, 2]


def test_a_memory_efficient_level_widens_before_its_blocks() -> None:
    for is_efficient, widths in ((False, [8, 8, 16]), (True, [8, 16, 16])):
        unet = small_unet(memory_efficient=is_efficient)
        blocks = [down.first for down in unet.downs if isinstance(down, DownLevel)]
        assert [block.conv2.out_channels for block in blocks if isinstance(block, ResnetBlock)] == widths


@pytest.mark.parametrize("memory_efficient", [False, True])
def test_each_skip_joins_its_twin_scaled_by_one_over_the_root_of_two(memory_efficient: bool) -> None:
    unet = small_unet(memory_efficient=memory_efficient)
    skips: list[torch.Tensor] = []
    joined: list[torch.Tensor] = []
    for down in unet.downs:
        down.register_forward_hook(lambda _, __, output: skips.extend(output[1]))
    for up in unet.ups:
        assert isinstance(up, UpLevel)
        for block in (up.first, *up.blocks):
            block.register_forward_pre_hook(lambda _, inputs: joined.append(inputs[0]))

    run(unet)

    assert len(joined) == len(skips) == 1 + 2 + 1 + 3
    for block_input, skip in zip(joined, reversed(skips), strict=True):
        assert_close(block_input[:, -skip.shape[1] :], skip / 2**0.5)


@pytest.mark.parametrize("layers", [(True, False, False), (False, True, True), (False, False, False)])
def test_pixels_attend_to_each_other_only_where_it_is_asked_for(layers: tuple[bool, ...]) -> None:
    unet = small_unet(layer_attns=layers)

    assert [_count(down, SelfAttention) for down in unet.downs] == [int(wanted) for wanted in layers]
    assert [_count(up, SelfAttention) for up in unet.ups] == [int(wanted) for wanted in reversed(layers)]
    assert _count(unet.middle_attention, SelfAttention) == 0
    assert _count(small_unet(attend_at_middle=True).middle_attention, SelfAttention) == 1


@pytest.mark.parametrize("layers", [(True, False, False), (False, True, True), (False, False, False)])
def test_the_caption_is_attended_to_where_it_is_asked_for_and_in_the_middle(layers: tuple[bool, ...]) -> None:
    unet = small_unet(layer_cross_attns=layers)

    for level, wanted in zip((*unet.downs, *reversed(unet.ups)), layers * 2, strict=True):
        assert isinstance(level, DownLevel | UpLevel)
        assert (_count(level.first, CrossAttention), _count(level.blocks, CrossAttention)) == (int(wanted), 0)
    assert [_count(block, CrossAttention) for block in (unet.middle1, unet.middle2, unet.last_block)] == [1, 1, 0]


def _count(part: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(module, kind) for module in part.modules())
