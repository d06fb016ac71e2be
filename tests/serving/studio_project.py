"""A project with all that the page shows: a cascade in data/, training pictures, and a champion in the registry."""

import shutil
from pathlib import Path

from minimagen.tracking.registry import Registry
from tests.datasets.prepared import curated_record, write_prepared
from tests.small_cascade import write_small_cascade

CHECKOUT = Path(__file__).parents[2]
NUM_TRAINING = 5


def write_studio_project(root: Path, *, is_registered: bool) -> Path:
    """Writes the project and returns it."""
    shutil.copyfile(CHECKOUT / "experiments/demo.yaml", root / "params.yaml")
    data = write_small_cascade(root / "data")
    rows = [
        curated_record(number, "train", (64, 64), text=f"training picture {number}") for number in range(NUM_TRAINING)
    ]
    write_prepared(data, {"shard-1": [*rows, curated_record(99, "validation", (64, 64))]})
    if is_registered:
        registry = Registry(root, "scenes")
        registry.promote(registry.register(data).number)
    return root
