import json
import shutil
from pathlib import Path

import pytest

from minimagen.config import ConfigError, Params, TextEncoderConfig, load_params
from minimagen.files import sha256_file
from minimagen.sources.scene_drawing import read_sprite_names
from minimagen.sources.scene_grammar import grammar_corpus
from minimagen.stages.text_encoder import run_text_encoder
from minimagen.text.locate import open_stage
from minimagen.text.t5 import TextEncoder
from tests.text.builders import make_encoder


@pytest.fixture
def root(tmp_path: Path, checkout: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "assets").symlink_to(checkout / "data" / "assets")
    return tmp_path


@pytest.fixture
def params(checkout: Path) -> Params:
    return load_params(checkout / "experiments" / "demo.yaml")


def with_encoder(params: Params, name: str, revision: str | None = None) -> Params:
    return params.model_copy(update={"text_encoder": TextEncoderConfig(name=name, revision=revision, max_length=64)})


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in folder.iterdir()}


def test_the_built_in_encoder_is_written_whole_and_the_same_each_time(root: Path, params: Params):
    run_text_encoder(params, root)
    first = hashes(root / "data/text_encoder")
    run_text_encoder(params, root)

    assert hashes(root / "data/text_encoder") == first
    assert open_stage(root / "data/text_encoder").kind == "stored"
    assert {"config.json", "model.safetensors", "spiece.model", "encoder.json"} < set(first)


def test_every_word_of_every_scene_and_of_the_word_list_is_one_token(root: Path, params: Params):
    run_text_encoder(params, root)
    lines = grammar_corpus(read_sprite_names(root / "data/assets/sprites.parquet"))
    listed = (root / "data/assets/words.txt").read_text().split()
    words = sorted({*listed, *(word for line in lines for word in line.split())})

    counts = TextEncoder.from_stage(root / "data/text_encoder", device="cpu").count_tokens(words)

    assert [word for word, count in zip(words, counts, strict=True) if count != 2] == []


def test_the_encoder_does_not_depend_on_the_data_set(root: Path, params: Params):
    run_text_encoder(params, root)
    first = hashes(root / "data/text_encoder")
    scenes = params.ingest.scenes
    assert scenes is not None
    fewer = scenes.model_copy(update={"objects": ("frog", "key"), "seed": 7})
    changed = params.model_copy(
        update={"ingest": params.ingest.model_copy(update={"scenes": fewer, "snapshot": "s-2"})}
    )

    run_text_encoder(changed, root)

    assert hashes(root / "data/text_encoder") == first


def test_a_local_folder_is_recorded_and_not_copied(root: Path, params: Params):
    folder = make_encoder(root / "mine")

    run_text_encoder(with_encoder(params, str(folder)), root)

    assert list(hashes(root / "data/text_encoder")) == ["encoder.json"]
    assert TextEncoder.from_stage(root / "data/text_encoder", device="cpu").text_dim == 128


def test_going_from_tiny_to_a_folder_and_back_leaves_nothing_behind(root: Path, params: Params):
    run_text_encoder(params, root)
    first = hashes(root / "data/text_encoder")
    run_text_encoder(with_encoder(params, str(make_encoder(root / "mine"))), root)

    run_text_encoder(params, root)

    assert hashes(root / "data/text_encoder") == first


def test_an_encoder_that_cannot_be_had_leaves_the_old_one_alone(root: Path, params: Params):
    run_text_encoder(params, root)
    first = hashes(root / "data/text_encoder")

    with pytest.raises(ConfigError, match="t5-base"):
        run_text_encoder(with_encoder(params, "t5-base"), root)

    assert hashes(root / "data/text_encoder") == first


def test_tiny_takes_no_revision(root: Path, params: Params):
    with pytest.raises(ConfigError, match=r"text_encoder\.revision 'main': tiny is not a hub model"):
        run_text_encoder(with_encoder(params, "tiny", "main"), root)


def test_no_time_stands_in_the_out(root: Path, params: Params, capsys: pytest.CaptureFixture[str]):
    run_text_encoder(params, root)

    assert capsys.readouterr().out.startswith("text-encoder: tiny, revision None, 128 values per token")
    assert json.loads((root / "runs/text_encoder/timings.json").read_text())["total_s"] >= 0
    shutil.rmtree(root / "runs")
    open_stage(root / "data/text_encoder")
