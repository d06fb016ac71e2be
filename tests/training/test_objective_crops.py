"""A U-Net that is trained on crops sees there what it will see in the whole picture when it samples."""

from collections.abc import Sequence

import torch

from minimagen.config import UNetSection
from minimagen.datasets.captioned import Batch
from minimagen.datasets.transforms import Windows
from minimagen.diffusion.cascade import resize
from minimagen.seeding import generator
from minimagen.training.objective import Draws, Objective
from minimagen.training.validation import validation_losses
from tests.stages.tiny_project import tiny_params
from tests.training.test_objective import Recorder

CPU = torch.device("cpu")
SIZE, LOW_RES_SIZE, CROP_SIZE = 16, 8, 8
CORNERS = ((0, 0), (8, 8), (3, 5), (7, 0))


def section_of(crop_size: int | None = CROP_SIZE, **unet: object) -> UNetSection:
    document = tiny_params().unets["super"].model_dump()
    document["unet"] |= {"layer_attns": (False, False)} | unet
    document["diffusion"]["max_aug_level"] = 0.0
    document["training"]["crop_size"] = crop_size
    return UNetSection.model_validate(document)


def batch_of(corners: tuple[tuple[int, int], ...] = CORNERS) -> Batch:
    source, count = generator("pictures"), len(corners)
    return Batch(
        images=torch.rand(count, 3, SIZE, SIZE, generator=source) * 2 - 1,
        text_embeds=torch.randn(count, 2, 6, generator=source),
        text_mask=torch.ones(count, 2, dtype=torch.bool),
        keys=tuple(f"key-{number}" for number in range(count)),
        windows=Windows(CROP_SIZE, corners),
    )


def test_the_low_resolution_of_a_crop_is_the_crop_of_the_low_resolution() -> None:
    network, batch, objective = Recorder(), batch_of(), Objective(section_of(), CPU)

    objective.loss_under(network, batch, objective.draw(4, generator(1)))

    seen, sampled = network.told["low_res"], resize(resize(batch.images, LOW_RES_SIZE), SIZE)
    assert seen is not None
    for number, (top, left) in enumerate(CORNERS):
        expected = sampled[number, :, top : top + CROP_SIZE, left : left + CROP_SIZE]
        # Time 0 of the noise law still has a log-SNR of 15, that is noise of 5.5e-4.
        torch.testing.assert_close(seen[number], expected, rtol=0, atol=4e-3)


def test_shrinking_a_crop_by_itself_would_be_wrong_at_its_edges() -> None:
    images = batch_of().images
    whole = resize(resize(images, LOW_RES_SIZE), SIZE)[:, :, 8:, 8:]
    alone = resize(resize(images[:, :, 8:, 8:], LOW_RES_SIZE // 2), CROP_SIZE)

    error = (whole - alone).abs()

    assert error[:, :, -1, -1].max() < 1e-5  # at the picture's own edge
    assert error[:, :, 0, 0].max() > 0.1


def test_noise_and_target_are_those_of_the_crop() -> None:
    objective = Objective(section_of(), CPU)
    draws = objective.draw(4, generator(1))
    batch, network = batch_of(), Recorder()

    losses = objective.loss_under(network, batch, draws)

    assert draws.eps.shape == draws.aug_eps.shape == (4, 3, CROP_SIZE, CROP_SIZE)
    parts = [
        image[:, top : top + CROP_SIZE, left : left + CROP_SIZE]
        for image, (top, left) in zip(batch.images, CORNERS, strict=True)
    ]
    # The demo's target is the picture itself, so predicting nothing costs its power.
    torch.testing.assert_close(losses, torch.stack(parts).square().mean(dim=(1, 2, 3)))


def test_validation_takes_the_crops_that_the_batch_says() -> None:
    objective, sizes = Objective(section_of(), CPU), list[torch.Size]()

    class HeldOut:
        def __len__(self) -> int:
            return 4

        def batch(self, indices: Sequence[int], *, seed: int) -> Batch:
            return batch_of()

    def loss(batch: Batch, draws: Draws) -> torch.Tensor:
        sizes.append(draws.eps.shape)
        return objective.loss_under(Recorder(), batch, draws)

    report = validation_losses(loss, HeldOut(), aug_level=0.0, num_images=4, batch_size=4, seed=0)

    assert report.loss > 0.0 and sizes == [torch.Size((4, 3, CROP_SIZE, CROP_SIZE))]
