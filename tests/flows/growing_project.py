"""A Git and DVC project with the checkout's own pipeline, tiny, whose source is a folder of pictures that grows.

A picture is a square on a ground; the caption names both colours and nothing else does, so a caption that lies is felt.
"""

import io
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from ruamel.yaml import YAML

CHECKOUT = Path(__file__).parents[2]
CARRIED = (
    "minimagen",
    "flows",
    "dvc.yaml",
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvcignore",
    ".gitignore",
    "experiments",
)
COLORS = {
    "red": (220, 30, 30),
    "green": (30, 180, 40),
    "blue": (40, 60, 220),
    "yellow": (230, 220, 40),
    "white": (240, 240, 240),
    "black": (20, 20, 20),
}
UNET = {
    "dim": 16,
    "dim_mults": [1, 2],
    "num_resnet_blocks": [1, 1],
    "layer_attns": [False, True],
    "layer_cross_attns": [True, True],
    "attn_heads": 2,
    "attn_head_dim": 8,
    "cond_dim": 16,
}
FOLDER = {
    "captions_file": None,
    "path_column": "file_name",
    "caption_column": "text",
    "license": "CC0-1.0",
    "lang": "en",
    "shard_rows": 1000,
    "images": {
        "store_size": 16,
        "min_side": 8,
        "max_aspect": 3.0,
        "max_pixels": 1_000_000,
        "min_std": 2.0,
        "animated": "first_frame",
        "encoding": "png",
    },
    "captions": {"min_chars": 3, "max_chars": 100},
}


def make_project(root: Path, *, num_steps: int) -> Path:
    """Writes the project, commits it, and returns its root; the folder ``my_pictures`` is empty and not in Git."""
    for name in CARRIED:
        source, target = CHECKOUT / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    shutil.copytree(CHECKOUT / "data/assets", root / "data/assets")
    with (root / ".gitignore").open("a") as stream:
        stream.write("/my_pictures/\n")
    write_params(root, num_steps=num_steps)
    (root / "my_pictures").mkdir()
    for arguments in (["init", "--quiet"], ["add", "-A"], ["commit", "--quiet", "-m", "a project"]):
        identity = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
        subprocess.run(["git", *identity, *arguments], cwd=root, check=True)
    return root


def write_params(root: Path, *, num_steps: int) -> None:
    """Writes the demo's parameters, shrunk to 8 and 16 px, for the folder."""
    document = YAML(typ="safe", pure=True).load((CHECKOUT / "experiments/demo.yaml").read_text())
    document["sources"] = {"folder": "my_pictures"}
    document["ingest"] = {"snapshot": "s0", "folder": FOLDER}
    document["curate"] |= {"max_hamming": 0, "max_lab_distance": 0.0, "val_fraction": 0.3}
    for name, size, low_res_size in (("base", 8, None), ("super", 16, 8)):
        section = document["unets"][name]
        section |= {"image_size": size, "low_res_size": low_res_size}
        section["unet"] |= UNET
        section["training"] |= {"num_steps": num_steps, "batch_size": 32, "warmup_steps": 10, "save_every": 10_000}
        section["training"] |= {"validate_every": num_steps, "num_validation_images": 16}
        section["training"]["grid"] |= {"every": num_steps, "num_captions": 2, "num_steps": 2}
        document["sampling"][name] |= {"num_steps": 2, "guidance_scale": 1.0}
    document["evaluate"] |= {"num_captions": 8, "num_training_captions": 4, "num_super_pairs": 24, "num_report_rows": 2}
    with (root / "params.yaml").open("w") as stream:
        YAML(typ="safe", pure=True).dump(document, stream)


def add_pictures(folder: Path, numbers: Sequence[int], *, are_captions_shuffled: bool = False) -> None:
    """Adds pictures to the folder, each drawn from its number alone; ``are_captions_shuffled`` gives each another's."""
    scenes = [_scene(number) for number in numbers]
    captions = [f"a {square} square on a {ground} ground" for square, ground, _ in scenes]
    if are_captions_shuffled:
        captions = [captions[index] for index in np.random.default_rng(0).permutation(len(captions))]
    with (folder / "metadata.jsonl").open("a") as stream:
        for number, caption, (_, _, pixels) in zip(numbers, captions, scenes, strict=True):
            content = io.BytesIO()
            Image.fromarray(pixels).save(content, "PNG")
            (folder / f"{number:04d}.png").write_bytes(content.getvalue())
            stream.write(json.dumps({"file_name": f"{number:04d}.png", "text": caption}) + "\n")


def _scene(number: int) -> tuple[str, str, np.ndarray]:
    draws = np.random.default_rng(number)
    square, ground = (str(name) for name in draws.choice(list(COLORS), 2, replace=False))
    pixels = np.empty((16, 16, 3))
    pixels[:] = COLORS[ground]
    top, left = draws.integers(3, 6, 2)
    pixels[top : top + 8, left : left + 8] = COLORS[square]
    pixels += draws.normal(0, 3, pixels.shape) + draws.normal(0, 4, 3)
    return square, ground, pixels.clip(0, 255).astype(np.uint8)
