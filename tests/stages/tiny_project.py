"""A project of a few small pictures, whose training takes a second: parameters, curated data and embeddings.

Imports no pytest, so that the processes that tests start may use it.
"""

import copy
from pathlib import Path

from minimagen.config import Params, read_yaml, validate_params
from minimagen.journal import Value, read_journal
from tests.contents import files_below
from tests.datasets.prepared import curated_record, write_prepared

CHECKOUT = Path(__file__).parents[2]
TINY_UNET = {
    "dim": 8,
    "dim_mults": [1, 2],
    "num_resnet_blocks": [1, 1],
    "layer_attns": [False, True],
    "layer_cross_attns": [False, True],
    "attn_heads": 2,
    "attn_head_dim": 4,
    "cond_dim": 8,
    "num_null_tokens": 1,
}
TINY_TRAINING = {
    "num_steps": 12,
    "num_epochs": None,
    "batch_size": 4,
    "warmup_steps": 2,
    "save_every": 4,
    "validate_every": 6,
    "num_validation_images": 5,
    "snapshot_epochs": [1],
    "grid": {"every": 6, "num_captions": 2, "num_steps": 2, "guidance_scale": 2.0, "on_copying": "warn"},
}


def tiny_params(*, dropout: float = 0.0, hears_warp: bool = False, **training: object) -> Params:
    """Returns the demo's parameters, shrunk; ``training`` changes fields of both U-Nets' training."""
    document = copy.deepcopy(read_yaml(CHECKOUT / "experiments/demo.yaml"))
    assert isinstance(document, dict)
    for name, (size, low_res_size) in {"base": (8, None), "super": (16, 8)}.items():
        section = document["unets"][name]
        section |= {"image_size": size, "low_res_size": low_res_size}
        section["unet"] |= TINY_UNET | {"dropout": dropout, "hears_warp": hears_warp}
        section["diffusion"] |= {"log_snr_shift": 0.0, "cond_drop_prob": 0.1}
        section["training"] |= TINY_TRAINING | training
    document["sampling"]["base"]["guidance_scale"] = 1.5
    return validate_params(document, CHECKOUT / "experiments/demo.yaml")


def write_tiny_data(root: Path, **changes: object) -> None:
    """Writes ten training and six validation pictures of 16 px with their captions' embeddings below ``root``/data."""
    records = [
        curated_record(number, "train" if number < 10 else "validation", (16, 16), **changes) for number in range(16)
    ]
    write_prepared(root / "data", {"shard-1": records[:9], "shard-2": records[9:]})


def outs_of(root: Path, unet: str = "base") -> dict[str, str]:
    """Returns what both outs of a training hold."""
    return files_below(root / "data/models" / unet) | files_below(root / "data/checkpoints" / unet)


def run_folder(root: Path, unet: str = "base") -> Path:
    """Returns where a training keeps its states and its journal."""
    (folder,) = (path for path in (root / "runs/train").glob(f"{unet}-*") if ".aside" not in path.name)
    return folder


def journalled(root: Path, unet: str = "base") -> list[tuple[int, dict[str, Value]]]:
    """Returns the metrics of a training's journal by step, without times."""
    timeless = ("train_loss", "learning_rate", "grad_norm", "validation_loss", "validation_loss/0.00-0.25")
    entries = [entry for entry in read_journal(run_folder(root, unet) / "journal.jsonl") if entry.kind == "metric"]
    return [(entry.step, {key: entry.values[key] for key in timeless if key in entry.values}) for entry in entries]
