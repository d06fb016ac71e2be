import pytest
import torch
from torch.testing import assert_close

from minimagen.diffusion.cascade import CascadeStage, SamplerSettings, last_state, resize, sample_stage
from minimagen.diffusion.consistency import agree, agreeing, shrink_matrix
from minimagen.diffusion.denoiser import Denoiser
from minimagen.diffusion.samplers import Sampler
from minimagen.diffusion.schedule import NoiseSchedule

SIZES = [(64, 16), (64, 32), (20, 7), (9, 8)]
ONE_LEVEL = 2.0 / 255.0
"""A step of stored pixels, in [-1, 1]."""


def scenes(size: int, batch: int = 4) -> torch.Tensor:
    """Pictures as hard as ours: flat discs of saturated colours on flat ground, white among them."""
    draw = torch.Generator().manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    pictures = torch.rand(batch, 3, 1, 1, generator=draw).mul(2).sub(1).expand(batch, 3, size, size).clone()
    pictures[0] = 1.0
    for picture in pictures:
        for _ in range(4):
            row, column, radius = (torch.rand(3, generator=draw) * torch.tensor([1.0, 1.0, 0.3]) * size).tolist()
            inside = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
            picture[:, inside] = torch.randint(0, 2, (3, 1), generator=draw).float() * 2 - 1
    return pictures


def colour_error(pictures: torch.Tensor, low_res: torch.Tensor) -> torch.Tensor:
    """Mean distance of each shrunk picture to what it started from."""
    shrink = shrink_matrix(pictures.shape[-1], low_res.shape[-1]).to(low_res)
    return (shrink @ pictures @ shrink.T - low_res).abs().mean((1, 2, 3))


@pytest.mark.parametrize(("size", "low_res_size"), SIZES)
def test_the_matrix_shrinks_as_the_cascade_does(size: int, low_res_size: int) -> None:
    pictures = 0.5 * scenes(size).double()  # so pale that nothing is clamped
    shrink = shrink_matrix(size, low_res_size)

    assert_close(shrink @ pictures @ shrink.T, resize(pictures, low_res_size), rtol=0, atol=1e-12)
    assert_close(shrink.sum(1), torch.ones(low_res_size, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("size", "low_res_size"), SIZES)
def test_where_nothing_is_clamped_one_correction_is_the_nearest_picture_that_agrees(
    size: int, low_res_size: int
) -> None:
    draw = torch.Generator().manual_seed(1)
    x0, low_res = (0.1 * torch.randn(1, 1, side, side, generator=draw).double() for side in (size, low_res_size))

    found = agreeing(lambda xt, t: x0, low_res, size)(x0, torch.zeros(1, dtype=torch.float64))

    shrink = torch.kron(*[shrink_matrix(size, low_res_size)] * 2)  # of a whole picture, row by row
    missing = low_res.flatten() - shrink @ x0.flatten()
    nearest = x0.flatten() + torch.linalg.lstsq(shrink, missing[:, None], driver="gelsd").solution[:, 0]
    assert_close(found.flatten(), nearest, rtol=0, atol=1e-10)
    assert found.abs().max() < 1.0


@pytest.mark.parametrize(("size", "low_res_size"), SIZES)
@pytest.mark.parametrize("wrong", ["tinted", "pale", "unrelated"])
def test_corrections_and_clamps_together_still_converge(size: int, low_res_size: int, wrong: str) -> None:
    pictures = scenes(size)
    low_res = resize(pictures, low_res_size)
    estimates = {"tinted": 0.7 * pictures + 0.3, "pale": 0.5 * pictures, "unrelated": pictures.flip(0).roll(3, -1)}
    shrink = shrink_matrix(size, low_res_size)
    matrices = [one.float() for one in (shrink, torch.linalg.pinv(shrink))]

    errors, found = [], estimates[wrong]
    for _ in range(3):
        found = agree(found, low_res, *matrices)
        errors.append(colour_error(found, low_res).max().item())

    assert errors[0] < ONE_LEVEL or (wrong == "unrelated" and errors[0] < 2 * ONE_LEVEL)
    assert errors[2] <= errors[1] <= errors[0]
    assert found.abs().max() <= 1.0


def test_what_agrees_already_stays() -> None:
    pictures = 0.5 * scenes(64)

    found = agreeing(lambda xt, t: pictures, resize(pictures, 16), 64)(pictures, torch.zeros(4))

    assert_close(found, pictures, rtol=0, atol=2e-6)


class TintedNetwork:
    """Enlarges what it is given, with a reddish tint and too little contrast."""

    def __call__(self, xt: torch.Tensor, t: torch.Tensor, *, low_res: torch.Tensor, **_: object) -> torch.Tensor:
        return 0.7 * low_res + torch.tensor([0.35, -0.1, -0.2])[None, :, None, None]


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpmpp_2m", "heun"])
@pytest.mark.parametrize("percentile", [None, 0.9])
def test_a_network_that_moves_colours_is_held_to_its_input(sampler: Sampler, percentile: float | None) -> None:
    low_res = resize(scenes(64), 16)

    def drawn(is_consistent: bool) -> torch.Tensor:
        settings = SamplerSettings(
            sampler, 4, 1.0, percentile, 1.5, 0.1, low_frequency_consistency=is_consistent
        )  # noise in the input, none in what is agreed with
        denoiser = Denoiser(TintedNetwork(), NoiseSchedule("cosine"), "x0")  # pyright: ignore[reportArgumentType]
        stage = CascadeStage("super", denoiser, 64, settings)
        text = torch.zeros(4, 1, 2), torch.ones(4, 1, dtype=torch.bool)
        return last_state(sample_stage(stage, *text, seed=0, sample_ids="abcd", previous=low_res))

    assert colour_error(drawn(False), low_res).min() > 20 * ONE_LEVEL
    assert colour_error(drawn(True), low_res).max() < ONE_LEVEL
