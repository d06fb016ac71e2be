"""The built-in network: the same everywhere, blind to batches, and it sees colour and place."""

import torch

from minimagen.features.fixed import NUM_FEATURES, FixedFeatures
from minimagen.seeding import generator


def _pictures(num: int, size: int = 32) -> torch.Tensor:
    return torch.rand(num, 3, size, size, generator=generator("pictures")) * 2 - 1


def test_weights_are_the_same_everywhere():
    identity = FixedFeatures().identity

    assert identity.sha256 == FixedFeatures().identity.sha256
    assert not identity.is_comparable
    torch.testing.assert_close(
        FixedFeatures().of_pictures(torch.ones(1, 3, 16, 16))[0, :3],
        torch.tensor([2.5480, 2.2918, -2.0072]),
        atol=1e-3,
        rtol=1e-3,
    )


def test_a_picture_keeps_its_vector_in_any_batch():
    pictures, network = _pictures(70), FixedFeatures()

    together = network.of_pictures(pictures)

    assert together.shape == (70, NUM_FEATURES)
    torch.testing.assert_close(network.of_pictures(pictures[66:67])[0], together[66], atol=1e-5, rtol=1e-4)


def test_moved_and_recoloured_pictures_are_farther_than_slightly_noisy_ones():
    picture = -torch.ones(1, 3, 32, 32)
    picture[:, 0, 4:14, 4:14] = 1.0
    moved, recoloured = picture.roll((14, 14), dims=(2, 3)), picture.flip(1)
    noisy = picture + 0.05 * torch.randn(picture.shape, generator=generator("noise"))

    own, *others = FixedFeatures().of_pictures(torch.cat([picture, noisy, moved, recoloured]))

    near, far, other = (float((own - one).norm()) for one in others)
    assert 5 * near < min(far, other)
