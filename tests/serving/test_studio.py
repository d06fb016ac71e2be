"""What the page is answered: the cascades there are, and pictures with their way from noise and their neighbours."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.served import Served, serving
from tests.serving.studio_project import NUM_TRAINING, write_studio_project


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = write_studio_project(tmp_path_factory.mktemp("project"), is_registered=True)
    with serving(["studio"], root) as running:
        yield running


def size_of(png: str) -> tuple[int, int]:
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        assert picture.info == {}
        return picture.size


def choices(served: Served) -> dict[str, str]:
    models = served.ask("GET", "/api/models").json()["models"]
    assert isinstance(models, list)
    return {one["key"]: one["title"] for one in models}


def test_it_offers_the_newest_cascade_and_those_with_a_name(served: Served) -> None:
    assert choices(served) == {
        "data": "data/: the newest of this project",
        "minimagen-scenes/1": "champion: version 1 of minimagen-scenes",
    }


@pytest.mark.parametrize("model", ["data", "minimagen-scenes/1"])
def test_a_prompt_gives_every_stage_its_way_from_noise_and_its_neighbours(served: Served, model: str) -> None:
    choices(served)

    answer = served.post("/api/draw", {"model": model, "prompt": "a frog", "seed": 3, "num_images": 2, "steps": 4})

    assert answer.status == 200
    drawn = answer.json()
    assert drawn["stages"] == [{"name": "base", "size_px": 8}, {"name": "super", "size_px": 16}]
    assert drawn["num_training"] == NUM_TRAINING
    pictures = drawn["pictures"]
    assert isinstance(pictures, list) and len(pictures) == 2
    for picture in pictures:
        assert [size_of(picture["pixels"][name]) for name in ("base", "super")] == [(8, 8), (16, 16)]
        assert [size_of(picture["strips"][name]) for name in ("base", "super")] == [(32, 8), (64, 16)]
        assert len(picture["nearest"]) == 3
        assert all(size_of(one["png"]) == (64, 64) for one in picture["nearest"])
        distances = [one["distance"] for one in picture["nearest"]]
        assert distances == sorted(distances) and 0.0 < distances[0] < 2.0


def test_pictures_are_those_of_the_scoring_protocol(served: Served) -> None:
    choices(served)

    page = served.post("/api/draw", {"model": "data", "prompt": "a frog", "seed": 3}).json()
    predictions = served.draw(["a frog"], seed=3).json()["predictions"]

    assert isinstance(page["pictures"], list) and isinstance(predictions, list)
    assert page["pictures"][0]["pixels"] == {one["stage"]: one["png_base64"] for one in predictions}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"model": "data"}, "prompts.0: "),
        ({"model": "data", "prompt": "x" * 2001}, "at most 2000 characters"),
        ({"model": "data", "prompt": ["a"]}, "prompts.0: "),
        ({"model": "data", "prompt": "a", "prompts": ["b"]}, None),
        ({"model": "data", "prompt": "a", "num_images": 17}, "num_images: "),
        ({"model": "data", "prompt": "a", "negative_prompt": "b", "guidance_scale": 1}, "no stage has guidance"),
        ({"model": "../data", "prompt": "a"}, "model: no such cascade"),
        ({"model": "/etc", "prompt": "a"}, "model: no such cascade"),
        ({"model": "minimagen-scenes/2", "prompt": "a"}, "model: no such cascade"),
        ({"model": ["data"], "prompt": "a"}, "model: no such cascade"),
        ({"prompt": "a"}, "model: no such cascade"),
    ],
)
def test_what_is_asked_wrongly_is_refused(served: Served, fields: dict[str, object], told: str | None) -> None:
    choices(served)

    answer = served.post("/api/draw", fields)

    if told is None:
        assert answer.status == 200  # the prompt of the page is what counts
    else:
        assert answer.status == 400 and told in str(answer.json()["error"])


@pytest.mark.parametrize(
    ("path", "kind"), [("/", "text/html"), ("/studio.js", "text/javascript"), ("/studio.css", "text/css")]
)
def test_the_page_is_all_here(served: Served, path: str, kind: str) -> None:
    answer = served.ask("GET", path)

    assert answer.status == 200 and answer.headers["content-type"].startswith(kind)
    assert b"http" not in answer.body  # nothing comes from elsewhere


@pytest.mark.long
def test_a_project_without_a_cascade_is_told(tmp_path: Path, checkout: Path) -> None:
    (tmp_path / "params.yaml").write_bytes((checkout / "experiments/demo.yaml").read_bytes())

    with pytest.raises(RuntimeError, match="ended with 2"), serving(["studio"], tmp_path):
        pass


@pytest.mark.long
def test_a_defect_is_told_without_what_it_was(tmp_path: Path) -> None:
    root = write_studio_project(tmp_path, is_registered=True)
    with serving(["studio"], root) as served:
        choices(served)
        (weights,) = (root / "mlruns").rglob("models/super/model.safetensors")
        weights.write_bytes(b"torn")

        answer = served.post("/api/draw", {"model": "minimagen-scenes/1", "prompt": "a frog"})

        assert answer.status == 500
        assert answer.json() == {"error": "internal error: the server's log has it"}
        assert served.post("/api/draw", {"model": "data", "prompt": "a frog"}).status == 200
