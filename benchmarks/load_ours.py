"""Worker: batches of pictures and captions as training reads them.

python -m benchmarks.load_ours SETTING
"""

import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from benchmarks.course import demo_params
from benchmarks.peer_side.case import claim_output, serve
from benchmarks.scenes_data import SceneSplits, open_scenes
from minimagen.datasets.captioned import CaptionedImages
from minimagen.datasets.pictures import decode_picture, pictures_in_file, pictures_in_memory
from minimagen.seeding import batch_indices
from minimagen.shapes import PixelImage

NUM_SCENES = 720


@dataclass(frozen=True, slots=True)
class LoadSetting:
    """How pictures come to a batch."""

    size_px: int
    batch_size: int
    source: str
    """"encoded": PNG bytes, decoded at every use; "memory" or "file": decoded once, kept there."""
    num_threads: int = 1
    precision: str = "fp32"

    def text(self) -> str:
        """Returns the setting as a worker's argument."""
        return json.dumps(asdict(self))


def main() -> None:
    """Answers the driver until it closes standard input."""
    output, setting = claim_output(), LoadSetting(**json.loads(sys.argv[1]))
    torch.set_num_threads(setting.num_threads)
    with tempfile.TemporaryDirectory() as folder:
        serve(output, {"flops": None, "num_items": setting.batch_size}, loading_step(setting, Path(folder)))


def loading_step(setting: LoadSetting, folder: Path) -> Callable[[], None]:
    """Returns a function that assembles the next batch."""
    splits = open_scenes(demo_params(), setting.size_px, num_scenes=NUM_SCENES)
    contents = list(_encoded(splits))
    decoded = (decode_picture(content, setting.size_px, "center") for content in contents)
    dataset = splits.training
    if setting.source == "file":
        dataset = replace(dataset, pictures=pictures_in_file(folder / "pictures.u8", decoded))
    return _stepping(dataset, setting, contents if setting.source == "encoded" else None)


def _stepping(dataset: CaptionedImages, setting: LoadSetting, contents: list[bytes] | None) -> Callable[[], None]:
    numbers = iter(range(sys.maxsize))

    def step() -> None:
        indices = batch_indices(0, next(numbers), setting.batch_size, len(dataset))
        if contents is None:
            dataset.batch(indices, seed=0)
            return
        fresh: Iterator[PixelImage] = (
            decode_picture(contents[index], setting.size_px, "center") for index in indices.tolist()
        )
        chosen = [dataset.keys[index] for index in indices.tolist()]
        part = replace(dataset, keys=chosen, pictures=pictures_in_memory(fresh))
        part.batch(range(len(chosen)), seed=0)

    return step


def _encoded(splits: SceneSplits) -> Iterator[bytes]:
    for picture, dealt in zip(splits.drawn.pictures(), splits.drawn.dealt, strict=True):
        if not dealt.is_held_out:
            stream = io.BytesIO()
            picture.save(stream, "PNG")
            yield stream.getvalue()


if __name__ == "__main__":
    main()
