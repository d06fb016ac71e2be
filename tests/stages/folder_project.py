"""A project folder with parameters and a user's pictures, for the tests of the data stages."""

import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from minimagen.config import Params, read_yaml, validate_params

CHECKOUT = Path(__file__).parents[2]
FOLDER = {
    "captions_file": None,
    "path_column": "file_name",
    "caption_column": "text",
    "license": "CC0-1.0",
    "lang": "en",
    "shard_rows": 6,
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


def params_of(
    sources: Sequence[str] = ("folder",), *, num_scenes: int = 240, snapshot: str = "s1", **folder_changes: object
) -> Params:
    """Returns the demo's parameters with the given sources, as small as they may be."""
    path = CHECKOUT / "experiments/demo.yaml"
    document = read_yaml(path)
    assert isinstance(document, dict)
    reads = {"scenes": "data/assets/sprites.parquet", "folder": "my_pictures"}
    scenes = document["ingest"]["scenes"] | {
        "num_scenes": num_scenes,
        "size": 16,
        "objects": ["banana", "frog", "key"],
        "shard_rows": num_scenes // 2,
    }
    sections = {"scenes": scenes, "folder": FOLDER | folder_changes}
    document["sources"] = {source: reads[source] for source in sources}
    document["ingest"] = {"snapshot": snapshot} | {source: sections[source] for source in sources}
    return validate_params(document, path)


def write_picture(path: Path, seed: int, *, size: tuple[int, int] = (20, 16), kind: str = "PNG") -> None:
    """Writes a picture of four coloured fields that is like no other seed's."""
    fields = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(fields).resize(size, Image.Resampling.BICUBIC).save(stream, kind, quality=95)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(stream.getvalue())


def write_folder(root: Path, num_pictures: int = 16) -> Path:
    """Writes ``my_pictures`` with a metadata.jsonl and returns it."""
    folder = root / "my_pictures"
    for number in range(num_pictures):
        write_picture(folder / f"{number:02d}.png", number)
    add_captions(folder, *((f"{number:02d}.png", f"picture number {number}") for number in range(num_pictures)))
    return folder


def add_captions(folder: Path, *pairs: tuple[str, str]) -> None:
    """Appends lines to the folder's metadata.jsonl."""
    with (folder / "metadata.jsonl").open("a") as stream:
        stream.writelines(json.dumps({"file_name": name, "text": text}) + "\n" for name, text in pairs)


def copy_sprites(root: Path) -> None:
    """Copies the sprite sheet that scenes are drawn with."""
    (root / "data/assets").mkdir(parents=True)
    shutil.copy(CHECKOUT / "data/assets/sprites.parquet", root / "data/assets")
