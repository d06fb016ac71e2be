from collections.abc import Generator, Sequence
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from minimagen.diffusion.cascade import (
    CascadeStage,
    SamplerSettings,
    augment,
    last_pictures,
    last_state,
    resize,
    sample_stage,
    walk_cascade,
)
from minimagen.diffusion.denoiser import Denoiser
from minimagen.diffusion.samplers import Sampler
from minimagen.diffusion.schedule import NoiseSchedule
from minimagen.models.unet import UNet
from minimagen.shapes import Conditioning, Images
from tests.small_cascade import small_unet

SCHEDULE = NoiseSchedule("cosine")
SAMPLERS: list[Sampler] = ["ddpm", "ddim", "dpmpp_2m", "heun"]


def sample_cascade(
    stages: Sequence[CascadeStage],
    embeds: torch.Tensor,
    mask: torch.Tensor,
    *,
    seed: int,
    sample_ids: Sequence[int | str],
    negative: Conditioning | None = None,
) -> list[Images]:
    """Returns each stage's pictures."""
    states = walk_cascade(stages, embeds, mask, seed=seed, sample_ids=sample_ids, negative=negative)
    return list(last_pictures(states).values())


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


def stage(
    name: str, size: int, level: float | None, sampler: Sampler, schedule: NoiseSchedule = SCHEDULE, **options: object
) -> CascadeStage:
    settings = SamplerSettings(sampler, 5, 1.0, None, 1.0, level)
    denoiser = Denoiser(EchoNetwork(), schedule, "x0")  # pyright: ignore[reportArgumentType]
    return CascadeStage(name, denoiser, size, replace(settings, **options))  # pyright: ignore[reportArgumentType]


def stages(aug_level: float = 0.0) -> list[CascadeStage]:
    return [stage("base", 4, None, "ddpm"), stage("super", 8, aug_level, "dpmpp_2m")]


def captions(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(batch, 1, 2), torch.ones(batch, 1, dtype=torch.bool)


def unet_stages(sampler: Sampler, **options: object) -> list[CascadeStage]:
    """Two small networks of random weights that see text, time, noise and low resolution."""

    def stage_of(name: str, size: int, level: float | None) -> CascadeStage:
        with torch.random.fork_rng():
            torch.manual_seed(size)
            network = UNet(small_unet(memory_efficient=level is not None), text_dim=6, has_low_res=level is not None)
            torch.nn.init.normal_(network.last.weight, std=0.03)
        schedule = NoiseSchedule("cosine", zero_terminal_snr=True)
        settings = SamplerSettings(sampler, 3, 2.0, 0.95, 1.5, level, (0.2, 0.9), level is not None)
        return CascadeStage(name, Denoiser(network.eval(), schedule, "v"), size, replace(settings, **options))  # pyright: ignore

    return [stage_of("base", 8, None), stage_of("super", 20, 0.2)]


def texts(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Captions of one to ``batch`` tokens; each its own, whatever batch it is in."""
    lengths = torch.arange(1, batch + 1)
    embeds = torch.randn(batch, batch, 6, generator=torch.Generator().manual_seed(0))
    return embeds, torch.arange(batch) < lengths[:, None]


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


@pytest.mark.parametrize(
    ("sampler", "which"),
    [*((sampler, "base") for sampler in SAMPLERS), ("dpmpp_2m", "super"), ("ddim", "base with a negative caption")],
)
def test_eight_at_once_are_eight_alone(sampler: Sampler, which: str) -> None:
    stage = unet_stages(sampler)[which == "super"]
    negative = Conditioning(torch.ones(1, 3, 6), torch.ones(1, 3, dtype=torch.bool)) if "negative" in which else None
    previous = (
        resize(torch.rand(8, 3, 3, 3, generator=torch.Generator().manual_seed(0)) - 0.5, 8)
        if which == "super"
        else None
    )
    embeds, mask = texts(8)

    def drawn(one: slice, num_tokens: int) -> torch.Tensor:
        text, names = (embeds[one, :num_tokens], mask[one, :num_tokens]), "abcdefgh"[one]
        start = None if previous is None else previous[one]
        return last_state(sample_stage(stage, *text, seed=0, sample_ids=names, previous=start, negative=negative))

    with torch.inference_mode():
        together = drawn(slice(0, 8), 8)
        alone = [drawn(slice(index, index + 1), index + 1) for index in range(8)]

    assert_close(together, torch.cat(alone), rtol=0, atol=2e-6)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_seed_draws_the_same_bits(sampler: Sampler) -> None:
    first, second = (sample_cascade(unet_stages(sampler), *texts(3), seed=5, sample_ids="abc") for _ in range(2))

    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert all(pictures.isfinite().all() for pictures in first)


def test_what_is_switched_off_changes_no_bit() -> None:
    """No interval, no negative caption and no consistency: the settings of before there was a choice."""
    options = {"guidance_interval": None, "low_frequency_consistency": False}
    plain = sample_cascade(unet_stages("dpmpp_2m", **options), *texts(2), seed=0, sample_ids="ab")

    same = {"guidance_interval": (0.0, 1.0)}
    again = sample_cascade(unet_stages("dpmpp_2m", **options | same), *texts(2), seed=0, sample_ids="ab")
    other = sample_cascade(unet_stages("dpmpp_2m", **options, num_steps=5), *texts(2), seed=0, sample_ids="ab")

    assert all(torch.equal(one, two) for one, two in zip(plain, again, strict=True))
    assert not torch.equal(plain[0], other[0])


def test_a_negative_caption_changes_guided_stages_alone() -> None:
    negative = Conditioning(torch.ones(1, 2, 6), torch.ones(1, 2, dtype=torch.bool))

    def drawn(guidance_scale: float, negative: Conditioning | None) -> torch.Tensor:
        stages = unet_stages("ddim", guidance_scale=guidance_scale)[:1]
        return sample_cascade(stages, *texts(2), seed=0, sample_ids="ab", negative=negative)[0]

    assert (drawn(2.0, negative) - drawn(2.0, None)).abs().max() > 1e-3
    assert torch.equal(drawn(1.0, negative), drawn(1.0, None))


@pytest.mark.parametrize(
    ("sampler", "scale", "interval", "expected"),
    [
        ("ddpm", 1.0, None, 5),
        ("ddim", 2.0, None, 10),
        ("dpmpp_2m", 2.0, (0.3, 0.8), 5 + 3),  # at times 0.8, 0.6 and 0.4
        ("dpmpp_2m", 1.0, (0.3, 0.8), 5),
        ("heun", 1.0, None, 9),
        ("heun", 2.0, (0.3, 0.8), 9 + 6),
        ("heun", 2.0, (0.9, 1.0), 9 + 1),
    ],
)
def test_evaluations_are_counted_as_the_network_sees_them(
    sampler: Sampler, scale: float, interval: tuple[float, float] | None, expected: int
) -> None:
    drawing = stage("super", 8, 0.1, sampler, guidance_scale=scale, guidance_interval=interval)
    text_embeds, text_mask = captions(1)

    last_state(sample_stage(drawing, text_embeds, text_mask, seed=0, sample_ids="a", previous=torch.zeros(1, 3, 4, 4)))

    network = drawing.denoiser.network
    assert isinstance(network, EchoNetwork)
    assert sum(len(level) for level in network.low_res_levels) == expected
    assert drawing.settings.num_evaluations == expected


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
    with pytest.raises(ValueError, match="stage base: low_frequency_consistency"):
        consistent = replace(base, settings=replace(base.settings, low_frequency_consistency=True))
        sample_stage(consistent, *captions(1), seed=0, sample_ids="a")


def test_resizing_down_removes_detail_instead_of_aliasing() -> None:
    checkerboard = torch.ones(1, 3, 16, 16)
    checkerboard[..., ::2, ::2] = checkerboard[..., 1::2, 1::2] = -1

    assert resize(checkerboard, 4).abs().max() < 0.05


def test_all_states_of_all_stages_are_yielded_and_drawing_may_stop_between_them() -> None:
    network = EchoNetwork()
    chain = [replace(one, denoiser=Denoiser(network, SCHEDULE, "x0")) for one in stages()]
    walk = walk_cascade(chain, *captions(2), seed=0, sample_ids="ab")

    seen = [(one.stage, one.state.step) for one in walk]

    assert seen == [(one.name, step + 1) for one in chain for step in range(one.settings.num_steps)]
    network.low_res_levels.clear()
    stopped = walk_cascade(chain, *captions(2), seed=0, sample_ids="ab")
    assert isinstance(stopped, Generator)
    next(stopped)
    stopped.close()
    assert network.low_res_levels == []
