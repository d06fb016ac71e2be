import pytest
import torch
from torch.testing import assert_close

from minimagen.diffusion.cascade import CascadeStage, SamplerSettings, augment, resize, sample_cascade, sample_stage
from minimagen.diffusion.denoiser import Denoiser
from minimagen.diffusion.schedule import NoiseSchedule

SCHEDULE = NoiseSchedule("cosine")


class EchoNetwork:
    """Predicts half of its input as x0, plus its low-resolution picture; remembers what it was told."""

    def __init__(self) -> None:
        self.low_res_levels: list[torch.Tensor] = []

    def __call__(
        self,
        xt: torch.Tensor,
        t: torch.Tensor,
        *,
        low_res: torch.Tensor | None,
        low_res_level: torch.Tensor | None,
        **_: object,
    ) -> torch.Tensor:
        if low_res is None or low_res_level is None:
            return xt / 2
        self.low_res_levels.append(low_res_level)
        return low_res


def stages(aug_level: float = 0.0) -> list[CascadeStage]:
    def stage(name: str, size: int, level: float | None, sampler: str) -> CascadeStage:
        settings = SamplerSettings(sampler, 5, 1.0, None, 1.0, level)  # pyright: ignore[reportArgumentType]
        return CascadeStage(name, Denoiser(EchoNetwork(), SCHEDULE, "x0"), size, settings)  # pyright: ignore[reportArgumentType]

    return [stage("base", 4, None, "ddpm"), stage("super", 8, aug_level, "dpmpp_2m")]


def captions(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(batch, 1, 2), torch.ones(batch, 1, dtype=torch.bool)


def test_each_stage_has_its_size_and_the_range_of_pictures() -> None:
    base, top = sample_cascade(stages(), *captions(3), seed=0, sample_ids="abc")

    assert base.shape == (3, 3, 4, 4)
    assert top.shape == (3, 3, 8, 8)
    assert top.abs().max() <= 1.0


def test_a_sample_does_not_depend_on_its_batch() -> None:
    together = sample_cascade(stages(0.3), *captions(3), seed=0, sample_ids="abc")
    alone = sample_cascade(stages(0.3), *captions(1), seed=0, sample_ids="b")

    for many, one in zip(together, alone, strict=True):
        assert_close(many[1:2], one, rtol=1e-5, atol=1e-6)


def test_seed_and_name_change_a_sample() -> None:
    base = sample_cascade(stages()[:1], *captions(2), seed=0, sample_ids="ab")[0]
    other = sample_cascade(stages()[:1], *captions(2), seed=1, sample_ids="ab")[0]

    assert not torch.allclose(base[0], base[1])
    assert not torch.allclose(base, other)


def test_the_second_stage_sees_the_first_ones_picture_at_its_own_size() -> None:
    base, top = sample_cascade(stages(aug_level=0.0), *captions(2), seed=0, sample_ids="ab")

    assert_close(top, resize(base, 8), rtol=0, atol=0.01)  # augmentation level 0 leaves sigma = exp(-7.5)


def test_the_augmentation_level_is_told_and_applied_to_the_normalised_picture() -> None:
    low_res, eps, level = torch.full((2, 3, 4, 4), 0.5), torch.ones(2, 3, 4, 4), torch.tensor([0.0, 0.5])

    noised = augment(low_res, level, eps, SCHEDULE)

    assert_close(noised[0], low_res[0], rtol=0, atol=1e-3)
    assert_close(noised[1], torch.full((3, 4, 4), 1.5 * 0.5**0.5), rtol=0, atol=1e-3)


def test_a_stage_refuses_a_missing_or_unwanted_picture() -> None:
    base, top = stages()

    with pytest.raises(ValueError, match="stage super"):
        sample_stage(top, *captions(1), seed=0, sample_ids="a")
    with pytest.raises(ValueError, match="stage base"):
        sample_stage(base, *captions(1), seed=0, sample_ids="a", previous=torch.zeros(1, 3, 2, 2))


def test_resizing_down_removes_detail_instead_of_aliasing() -> None:
    checkerboard = torch.ones(1, 3, 16, 16)
    checkerboard[..., ::2, ::2] = checkerboard[..., 1::2, 1::2] = -1

    assert resize(checkerboard, 4).abs().max() < 0.05
