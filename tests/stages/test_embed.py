import json
from pathlib import Path

import pytest

from minimagen.config import ConfigError, Params, load_params
from minimagen.embeddings import read_embedding_manifest
from minimagen.files import sha256_file
from minimagen.stages.embed import run_embed
from tests.text.builders import CORPUS, make_curated, make_encoder

CAPTIONS = {"demo-1-00000": [*CORPUS, CORPUS[0]], "demo-1-00001": ["a frog", "a banana " * 40]}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINIMAGEN_DEVICE", "cpu")
    make_curated(tmp_path / "data/curated", CAPTIONS)
    make_encoder(tmp_path / "data/text_encoder")
    return tmp_path


@pytest.fixture
def params(checkout: Path) -> Params:
    return load_params(checkout / "experiments" / "demo.yaml")


def hashes(root: Path) -> dict[str, str]:
    folder = root / "data/embeddings"
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in folder.rglob("*") if path.is_file()}


def test_the_stage_prints_a_line_per_shard_and_a_summary(
    root: Path, params: Params, capsys: pytest.CaptureFixture[str]
):
    run_embed(params, root)

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "embed: 1/3 null: 1 captions, encoded"
    assert lines[2] == "embed: 3/3 scenes-demo-1-00001: 2 captions, encoded"
    assert lines[3].startswith("embed: 6 captions,")
    assert "1 cut at 64 tokens, 7 encoded now" in lines[3]
    assert read_embedding_manifest(root / "data/embeddings").num_cut == 1


def test_running_it_again_encodes_nothing_and_changes_no_byte(
    root: Path, params: Params, capsys: pytest.CaptureFixture[str]
):
    run_embed(params, root)
    first = hashes(root)
    capsys.readouterr()

    run_embed(params, root)

    assert capsys.readouterr().out.count("done before") == 3
    assert hashes(root) == first


def test_two_folders_of_the_same_data_are_equal(tmp_path: Path, root: Path, params: Params):
    other = tmp_path / "other"
    make_curated(other / "data/curated", CAPTIONS)
    make_encoder(other / "data/text_encoder")

    run_embed(params, root)
    run_embed(params, other)

    assert hashes(other) == hashes(root)


def test_deleting_one_file_encodes_one_shard(root: Path, params: Params, capsys: pytest.CaptureFixture[str]):
    run_embed(params, root)
    first = hashes(root)
    (root / "data/embeddings/shards/scenes-demo-1-00001.safetensors").unlink()
    capsys.readouterr()

    run_embed(params, root)

    assert "2 encoded now" in capsys.readouterr().out
    assert hashes(root) == first


def test_a_shard_that_is_gone_takes_its_embeddings_along(root: Path, params: Params):
    run_embed(params, root)
    make_curated(root / "data/curated", {"demo-1-00000": CAPTIONS["demo-1-00000"]})

    run_embed(params, root)

    assert not any("00001" in name for name in hashes(root))
    assert len(read_embedding_manifest(root / "data/embeddings").shards) == 1


def test_an_interrupted_stage_has_no_manifest(root: Path, params: Params):
    run_embed(params, root)
    (root / "data/curated/scenes/shards/demo-1-00001.parquet").write_bytes(b"damaged")
    (root / "data/embeddings/shards/scenes-demo-1-00001.json").unlink()

    with pytest.raises(ValueError, match=r"demo-1-00001\.parquet"):
        run_embed(params, root)

    assert not (root / "data/embeddings/manifest.json").exists()


def test_times_stand_beside_the_out(root: Path, params: Params):
    run_embed(params, root)

    timings = json.loads((root / "runs/embed/timings.json").read_text())
    assert (timings["num_encoded"], timings["device"]) == (7, "cpu")
    assert "captions_per_s" not in (root / "data/embeddings/manifest.json").read_text()


def test_an_unknown_device_is_refused_before_any_work(root: Path, params: Params, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MINIMAGEN_DEVICE", "abacus")

    with pytest.raises(ConfigError, match="MINIMAGEN_DEVICE is 'abacus', expected cpu or cuda"):
        run_embed(params, root)

    assert not (root / "data/embeddings").exists()


@pytest.mark.parametrize(
    ("missing", "stage"), [("curated/manifest.json", "curated"), ("text_encoder/encoder.json", "text-encoder")]
)
def test_a_stage_that_has_not_finished_is_named(root: Path, params: Params, missing: str, stage: str):
    (root / "data" / missing).unlink()

    with pytest.raises(ValueError, match=rf"{stage}.* has not finished"):
        run_embed(params, root)
