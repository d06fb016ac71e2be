"""Before a training: will it be long enough, and how long will it take? Told from trainings that are on record.

The table is that of docs/experiments.md. What another network on other pictures needs cannot be computed; the nearest
one on record says at least in which order of magnitude it lies.
"""

import math
import time
from dataclasses import dataclass
from statistics import median

import torch

from minimagen.config import UNetSection
from minimagen.few_pictures import are_few

SHORT = 0.5
"""A training that sees less than this share of what the nearest one on record needed is short."""
LONG = 10
"""One on few pictures that sees more than so many times what was needed is long."""
FORWARD_AND_BACKWARD = 3
SHARE_OF_MATRIX_RATE = 0.7
"""What trainings reach of the rate of a large matrix product (docs/experiments.md: 0.64 to 0.88 on a CPU)."""
MIN_STEP_S = {"cpu": 0.0, "cuda": 0.05}
"""A GPU's kernels are launched one by one, which takes so long at least (docs/experiments.md: 0.04
to 0.13 s a step of an H100 that had little to compute)."""
MATRIX_SIDE = {"cpu": 1024, "cuda": 4096}
NUM_PRODUCTS = 4


@dataclass(frozen=True, slots=True)
class KnownTraining:
    """A training on record."""

    name: str
    low_res_size: int | None
    image_size: int
    num_parameters: int
    num_pictures: int
    num_seen: int
    """Pictures seen, counted as often as they were seen."""
    result: str


KNOWN = (
    KnownTraining("the demo's base", None, 16, 2_550_787, 2_257, 48_000, "held-out captions were drawn right"),
    KnownTraining("scenes-relations' base", None, 16, 2_550_787, 2_744, 160_000, "held-out relations were drawn right"),
    KnownTraining("the demo's super", 16, 64, 1_059_235, 2_257, 12_800, "it began to beat bicubic enlarging"),
    KnownTraining("scenes-three-stages' last", 64, 256, 1_026_147, 1_141, 6_400, "it beat bicubic enlarging"),
    KnownTraining("a user of imagen-pytorch", None, 64, 100_000_000, 24_000, 550_000, "captions began to matter"),
)
"""The last one is from that project's issue 201; all others from docs/experiments.md. Pictures are those that stage
curate leaves for training: of the demo's 2,284 it rejects 27 as duplicates."""
KNOWN_BY_HEART = (
    KnownTraining("paper-scaled's base", None, 16, 2_550_787, 16, 6_400, "all of them came back from their captions"),
    KnownTraining("paper-scaled's super", 16, 32, 1_059_235, 16, 6_400, "it beat bicubic enlarging"),
)
"""Trainings on few pictures, all from docs/experiments.md."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """One planned training beside the nearest one on record."""

    unet: str
    num_seen: int
    num_pictures: int | None
    """Training pictures; None before there are data."""
    nearest: KnownTraining
    num_needed: int
    """Pictures seen that it takes by that record; of few pictures, but more than there, each as often as there."""
    enough: str
    """The key and value of params.yaml with which it sees so many."""

    @property
    def is_short(self) -> bool:
        """Whether it sees far fewer pictures than the nearest training on record."""
        return self.num_seen < SHORT * self.num_needed

    @property
    def is_long(self) -> bool:
        """Whether it sees its few pictures far more often than it takes to learn them by heart."""
        return are_few(self.num_pictures) and self.num_seen > LONG * self.num_needed

    def __str__(self) -> str:
        known, each = self.nearest, ""
        if self.num_pictures is not None:
            each = f", each of {self.num_pictures:,} {self.num_seen / self.num_pictures:,.0f} times"
        size = f"{known.image_size} px, {known.num_parameters / 1e6:.1f} M parameters, {known.num_pictures:,} pictures"
        told = f"{self.unet}: {self.num_seen:,} pictures seen{each}; {known.name} ({size}): after {known.num_seen:,}, "
        if self.is_long:
            return f"{told}{known.result}; yours is far longer than so few pictures took: begin with {self.enough}"
        return told + known.result + ("; yours may be too short" if self.is_short else "")


def forecast(
    unet: str, section: UNetSection, *, num_parameters: int, num_steps: int, num_pictures: int | None
) -> Forecast:
    """Compares a training with the nearest one on record: of its kind, on few pictures or many, in size and parameters.

    Args:
        num_pictures: training pictures; None before there are data, which are taken to be many.
    """

    def distance(known: KnownTraining) -> float:
        sizes = abs(math.log2(known.image_size / section.image_size))
        return sizes + 0.25 * abs(math.log2(known.num_parameters / num_parameters))

    on_record = KNOWN_BY_HEART if are_few(num_pictures) else KNOWN
    alike = [known for known in on_record if (known.low_res_size is None) == (section.low_res_size is None)]
    nearest, training = min(alike, key=distance), section.training
    needed = nearest.num_seen
    if num_pictures is not None and are_few(num_pictures):
        needed = math.ceil(needed * max(1.0, num_pictures / nearest.num_pictures))
    if training.num_steps is None and num_pictures is not None:
        enough = f"num_epochs: {math.ceil(needed / num_pictures)}"
    else:
        enough = f"num_steps: {math.ceil(needed / training.batch_size)}"
    num_seen = num_steps * training.batch_size
    return Forecast(unet, num_seen, num_pictures, nearest, needed, f"unets.{unet}.training.{enough}")


def estimate_seconds(gflop_forward: float, num_seen: int, num_steps: int, device: torch.device) -> float:
    """Returns about how long training on so many pictures in so many steps takes on this machine as it is now.

    Args:
        gflop_forward: 10^9 operations of one picture's forward pass.
    """
    rate = SHARE_OF_MATRIX_RATE * _matrix_rate(device)
    computed_s = FORWARD_AND_BACKWARD * gflop_forward * 1e9 * num_seen / rate
    return max(computed_s, num_steps * MIN_STEP_S[device.type])


def clock(seconds: float) -> str:
    """Returns a duration in the unit in which people think of it: 40 seconds, 12 minutes, 3 hours, 2 days."""
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _matrix_rate(device: torch.device) -> float:
    """Returns the operations a second of a product of two large matrices."""
    side = MATRIX_SIDE[device.type]
    left = torch.ones(side, side, device=device)
    seconds: list[float] = []
    for _ in range(NUM_PRODUCTS):
        started_s = time.perf_counter()
        torch.mm(left, left)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started_s)
    return 2.0 * side**3 / median(seconds[1:])
