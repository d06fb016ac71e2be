import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minimagen.diffusion.cascade import SamplerSettings
from minimagen.pipeline import Cascade, StageOverrides
from minimagen.stages.sample import run_sample
from tests.small_cascade import CORPUS, write_small_cascade


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_cascade(tmp_path_factory.mktemp("cascade"))


def draw(folder: Path, out: Path, **changes: object) -> Path:
    settings: dict[str, object] = {"num_per_caption": 2, "seed": 7, "overrides": StageOverrides(), **changes}
    return run_sample(list(CORPUS), cascade_folder=folder, out=out, **settings)  # pyright: ignore[reportArgumentType]


def test_there_is_a_file_for_each_picture_and_stage_and_a_grid(folder: Path, tmp_path: Path) -> None:
    grid = draw(folder, tmp_path / "samples")

    files = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert len(files) == 2 * 2 * 2 + 1
    assert "a-large-red-apple-on-a-blue-background-0-seed7-super.png" in files
    assert grid == tmp_path / "samples/grid.png"


def test_a_file_says_how_to_draw_it_again(folder: Path, tmp_path: Path) -> None:
    draw(folder, tmp_path, overrides=StageOverrides(num_steps=2))
    path = tmp_path / "a-large-red-apple-on-a-blue-background-1-seed7-super.png"

    with Image.open(path) as image:
        provenance, pixels = dict(image.text), np.asarray(image)  # pyright: ignore[reportAttributeAccessIssue]

    assert provenance["caption"] == CORPUS[0]
    assert json.loads(provenance["sampling"])["base"]["num_steps"] == 2
    assert "model.safetensors" in json.loads(provenance["models"])["super"]
    again = Cascade.load(folder).sample(
        [provenance["caption"]],
        seed=int(provenance["seed"]),
        num_per_caption=2,
        overrides=StageOverrides(num_steps=2),
    )
    assert np.abs(again.pixels["super"][1].astype(int) - pixels).max() <= 1


def test_a_file_says_every_setting_and_the_negative_caption(folder: Path, tmp_path: Path) -> None:
    draw(folder, tmp_path, overrides=StageOverrides(guidance_scale=3.0), negative="a blue background")
    path = tmp_path / "a-large-red-apple-on-a-blue-background-0-seed7-base.png"

    with Image.open(path) as image:
        provenance = dict(image.text)  # pyright: ignore[reportAttributeAccessIssue]

    settings = json.loads(provenance["sampling"])
    assert provenance["negative"] == "a blue background"
    assert settings["base"]["guidance_scale"] == 3.0
    assert settings["super"].keys() == set(SamplerSettings.__dataclass_fields__)


def test_a_caption_of_no_letters_still_has_a_file_name(folder: Path, tmp_path: Path) -> None:
    run_sample(["?!"], cascade_folder=folder, out=tmp_path, num_per_caption=1, seed=0, overrides=StageOverrides())

    assert (tmp_path / "empty-0-seed0-super.png").is_file()
