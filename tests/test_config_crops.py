"""Which U-Nets may be trained on random crops is decided by the parameters, before any work."""

import pytest
from pydantic import ValidationError

from minimagen.config import UNetSection
from tests.stages.tiny_project import tiny_params


def section(name: str, crop_size: int | None, **unet: object) -> UNetSection:
    """Returns a tiny section; the super-resolution one makes 16 px with a network that halves twice."""
    document = tiny_params().unets[name].model_dump()
    document["unet"] |= {"layer_attns": (False, False)} | unet
    document["training"]["crop_size"] = crop_size
    return UNetSection.model_validate(document)


def test_a_super_resolution_u_net_sees_its_crops_while_it_is_trained() -> None:
    assert section("super", 8).trained_size == 8
    assert section("super", None).trained_size == 16


@pytest.mark.parametrize(
    ("name", "crop_size", "unet", "message"),
    [
        ("base", 4, {}, "crop_size 4, expected null: a base U-Net has to see whole pictures"),
        ("super", 16, {}, "crop_size 16 is not smaller than image_size 16"),
        ("super", 6, {}, "crop_size 6 is not divisible by 4, as image_size is"),
        ("super", 8, {"layer_attns": (False, True)}, r"crop_size 8 with self-attention .* among 4 times as many"),
        ("super", 8, {"attend_at_middle": True}, r"crop_size 8 with self-attention \(unet\.layer_attns"),
    ],
)
def test_a_crop_that_cannot_be_learnt_from_is_refused(
    name: str, crop_size: int, unet: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        section(name, crop_size, **unet)
