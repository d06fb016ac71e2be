"""The held-out loss, by interval of diffusion time: the same pictures, times and noise at every call.

So two numbers of one run differ by the weights alone. Draws from its own streams, never from those of training.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from einops import reduce

from minimagen.datasets.captioned import Batch
from minimagen.seeding import generator, sample_noise
from minimagen.shapes import PerSample, Timesteps
from minimagen.training.objective import NUM_CHANNELS, Draws

NUM_BINS = 4


@runtime_checkable
class HeldOut(Protocol):
    """What validation knows of a dataset."""

    def __len__(self) -> int: ...

    def batch(self, indices: Sequence[int], *, seed: int) -> Batch: ...


@dataclass(frozen=True, slots=True)
class TimeBin:
    """The mean loss of the samples whose time lies in [start, end)."""

    start: float
    end: float
    loss: float


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """Mean losses over the held-out pictures, each picture at one time."""

    loss: float
    bins: tuple[TimeBin, ...]


def validation_losses(
    loss_under: Callable[[Batch, Draws], PerSample],
    dataset: HeldOut,
    *,
    aug_level: float,
    num_images: int,
    batch_size: int,
    seed: int,
) -> ValidationReport:
    """Returns the mean of ``loss_under`` in four intervals of time, and over all.

    Args:
        loss_under: the loss of each sample under given draws; the caller chooses weights and mode of the network.
        aug_level: noise level of every low-resolution picture.
        num_images: pictures, evenly spread over the data set; all of them if it is smaller.
        batch_size: pictures at a time; changes nothing but rounding.
    """
    num_images = min(num_images, len(dataset))
    indices = spread_indices(num_images, len(dataset))
    times = _stratified_times(num_images, seed)
    losses: list[PerSample] = []
    with torch.inference_mode():
        for chunk in _chunks(num_images, batch_size):
            batch = dataset.batch(indices[chunk], seed=seed)
            losses.append(loss_under(batch, _fixed_draws(batch, times[chunk], aug_level, seed)).cpu())
    return _by_time(torch.cat(losses).double(), times)


def spread_indices(num_wanted: int, num_samples: int) -> list[int]:
    """Returns ``num_wanted`` different indices, evenly spread over ``num_samples``."""
    return [index * num_samples // num_wanted for index in range(num_wanted)]


def _stratified_times(num_images: int, seed: int) -> Timesteps:
    """One time in the middle of each of ``num_images`` equal intervals, dealt out in a random order."""
    order = torch.randperm(num_images, generator=generator(seed, "validation times"))
    return (order + 0.5) / num_images


def _fixed_draws(batch: Batch, times: Timesteps, aug_level: float, seed: int) -> Draws:
    shape = (NUM_CHANNELS, batch.trained_size, batch.trained_size)
    return Draws(
        t=times,
        eps=sample_noise(seed, batch.keys, shape, stream="validation"),
        is_dropped=torch.zeros(len(batch.keys), dtype=torch.bool),
        aug_level=torch.full((len(batch.keys),), aug_level),
        aug_eps=sample_noise(seed, batch.keys, shape, stream="validation low_res"),
    )


def _by_time(losses: PerSample, times: Timesteps) -> ValidationReport:
    bins: list[TimeBin] = []
    for number in range(NUM_BINS):
        start, end = number / NUM_BINS, (number + 1) / NUM_BINS
        inside = losses[(times >= start) & (times < end)]
        if len(inside):
            bins.append(TimeBin(start, end, reduce(inside, "b ->", "mean").item()))
    return ValidationReport(losses.mean().item(), tuple(bins))


def _chunks(num_items: int, size: int) -> Iterator[slice]:
    for start in range(0, num_items, size):
        yield slice(start, min(start + size, num_items))
