import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from minimagen.config import EmbedConfig
from minimagen.embeddings import check_embeddings, read_embedding_manifest, read_embeddings
from minimagen.files import sha256_file
from minimagen.shards import ShardJob, ShardReport
from minimagen.text.embed import finish, plan, remove_unplanned, run
from minimagen.text.locate import hash_folder, read_record, write_record
from minimagen.text.t5 import TextEncoder
from tests.text.builders import CORPUS, make_curated, make_encoder

CONFIG = EmbedConfig(batch_tokens=64, precision="fp32")
CAPTIONS = {"demo-1-00000": [CORPUS[0], CORPUS[1], CORPUS[0]], "demo-1-00001": ["a frog", ""], "demo-1-00002": []}
NULL, FIRST, SECOND = "null", "scenes-demo-1-00000", "scenes-demo-1-00001"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def curated(tmp_path: Path) -> Path:
    return make_curated(tmp_path / "curated", CAPTIONS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "embeddings"


def make_plan(curated: Path, encoder: Path, *, config: EmbedConfig = CONFIG, max_length: int = 64) -> list[ShardJob]:
    return plan(curated, encoder=encoder, config=config, max_length=max_length)


def run_all(jobs: list[ShardJob], folder: Path) -> list[ShardReport]:
    return [run(job, folder=folder, device="cpu") for job in jobs]


def redone(jobs: list[ShardJob], folder: Path) -> list[str]:
    return [report.name for report in run_all(jobs, folder) if not report.was_done]


def test_row_i_of_a_shard_has_the_vectors_of_its_caption(curated: Path, encoder: Path, folder: Path):
    run_all(make_plan(curated, encoder), folder)

    shard = read_embeddings(folder / "shards" / f"{FIRST}.safetensors")
    expected = TextEncoder.from_stage(encoder, device="cpu").encode(
        CAPTIONS["demo-1-00000"], max_length=64, batch_tokens=64, precision="fp32"
    )
    assert shard.tokens.dtype == np.float16
    for index, vectors in enumerate(expected):
        found = shard.tokens[shard.offsets[index] : shard.offsets[index + 1]]
        np.testing.assert_array_equal(found, vectors.astype(np.float16))


def test_files_say_what_they_were_made_of(curated: Path, encoder: Path, folder: Path):
    run_all(make_plan(curated, encoder), folder)

    path = folder / "shards" / f"{FIRST}.safetensors"
    source = curated / "scenes" / "shards" / "demo-1-00000.parquet"
    shard = read_embeddings(path)
    check_embeddings(shard, source, path=path)
    assert set(shard.metadata) == {
        *("encoder", "revision", "tokenizer_sha256", "max_length", "cleaner_version", "shard_sha256", "precision")
    }
    assert shard.metadata["shard_sha256"] == sha256_file(source)


def test_the_null_caption_is_stored_as_one_end_token(curated: Path, encoder: Path, folder: Path):
    run_all(make_plan(curated, encoder), folder)

    null = read_embeddings(folder / "null.safetensors")
    assert (null.tokens.shape, null.offsets.tolist()) == ((1, 128), [0, 1])


def test_a_shard_without_rows_has_an_empty_file(curated: Path, encoder: Path, folder: Path):
    run_all(make_plan(curated, encoder), folder)

    shard = read_embeddings(folder / "shards" / "scenes-demo-1-00002.safetensors")
    assert (shard.tokens.shape, shard.offsets.tolist()) == ((0, 128), [0])


def test_a_second_run_encodes_nothing(curated: Path, encoder: Path, folder: Path):
    jobs = make_plan(curated, encoder)
    run_all(jobs, folder)

    reports = run_all(jobs, folder)

    assert [(report.stored, report.was_done) for report in reports] == [(1, True), (3, True), (2, True), (0, True)]


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_deleting_one_file_encodes_only_that_shard_to_the_same_bytes(
    curated: Path, encoder: Path, folder: Path, suffix: str
):
    jobs = make_plan(curated, encoder)
    run_all(jobs, folder)
    path = folder / "shards" / f"{FIRST}.safetensors"
    before = path.read_bytes()
    path.with_suffix(suffix).unlink()

    assert redone(jobs, folder) == [FIRST]
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_a_damaged_file_is_encoded_again(curated: Path, encoder: Path, folder: Path, damage: str):
    jobs = make_plan(curated, encoder)
    run_all(jobs, folder)
    path = folder / "shards" / f"{SECOND}.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-5] if damage == "cut" else content[:-1] + bytes([content[-1] ^ 1]))

    assert redone(jobs, folder) == [SECOND]
    assert path.read_bytes() == content


def test_only_a_curated_shard_that_changed_is_encoded_again(curated: Path, encoder: Path, folder: Path):
    run_all(make_plan(curated, encoder), folder)
    make_curated(curated, CAPTIONS | {"demo-1-00001": ["a frog", "another caption"]})

    assert redone(make_plan(curated, encoder), folder) == [SECOND]


def test_a_shard_that_is_not_the_planned_one_is_refused(curated: Path, encoder: Path, folder: Path):
    jobs = make_plan(curated, encoder)
    make_curated(curated, CAPTIONS | {"demo-1-00001": ["changed"]})

    with pytest.raises(ValueError, match=r"demo-1-00001\.parquet is not the shard that the curated manifest lists"):
        run_all(jobs, folder)


@pytest.mark.parametrize(
    "change",
    [
        {"max_length": 5},
        {"config": EmbedConfig(batch_tokens=64, precision="bf16")},
        {"config": EmbedConfig(batch_tokens=65, precision="fp32")},
    ],
)
def test_other_parameters_encode_everything_again(curated: Path, encoder: Path, folder: Path, change: dict):
    run_all(make_plan(curated, encoder), folder)

    assert len(redone(make_plan(curated, encoder, **change), folder)) == 4


def test_another_encoder_encodes_everything_again(tmp_path: Path, curated: Path, encoder: Path, folder: Path):
    run_all(make_plan(curated, encoder), folder)
    other = make_encoder(tmp_path / "other", [*CORPUS, "walrus"])

    assert len(redone(make_plan(curated, other), folder)) == 4


def test_another_cleaner_encodes_everything_again(curated: Path, encoder: Path, folder: Path):
    run_all(make_plan(curated, encoder), folder)
    make_curated(curated, CAPTIONS, cleaner_version="2")

    assert len(redone(make_plan(curated, encoder), folder)) == 4


def test_the_same_data_elsewhere_on_the_disk_is_done(tmp_path: Path, curated: Path, encoder: Path, folder: Path):
    run_all(make_plan(curated, encoder), folder)
    moved_curated, moved = curated.rename(tmp_path / "moved"), folder.rename(tmp_path / "moved-embeddings")

    assert redone(make_plan(moved_curated, encoder), moved) == []


def test_an_encoder_that_changed_since_planning_is_refused(tmp_path: Path, curated: Path, folder: Path):
    encoder = make_encoder(tmp_path / "encoder")
    jobs = make_plan(curated, encoder)
    make_encoder(encoder, [*CORPUS, "walrus"])

    with pytest.raises(ValueError, match="has changed since the embeddings were planned"):
        run_all(jobs, folder)


def test_files_that_are_not_planned_are_removed(curated: Path, encoder: Path, folder: Path):
    run_all(make_plan(curated, encoder), folder)
    make_curated(curated, {"demo-1-00000": CAPTIONS["demo-1-00000"]})
    (folder / "shards" / "left.safetensors.tmp-1").write_bytes(b"")

    remove_unplanned(folder, make_plan(curated, encoder))

    left = {path.name for path in folder.rglob("*") if path.is_file()}
    assert left == {"null.json", "null.safetensors", f"{FIRST}.json", f"{FIRST}.safetensors"}


def test_the_manifest_lists_every_shard_and_counts_cut_captions(curated: Path, encoder: Path, folder: Path):
    jobs = make_plan(curated, encoder, max_length=5)
    run_all(jobs, folder)

    summary = finish(folder, jobs)

    manifest = read_embedding_manifest(folder)
    assert (summary.num_captions, summary.captions.num_cut, summary.num_tokens) == (5, 3, 3 * 5 + 3 + 1)
    assert (manifest.encoder, manifest.revision, manifest.max_length, manifest.text_dim) == ("tiny", None, 5, 128)
    assert (manifest.num_cut, manifest.cleaner_version) == (3, "1")
    assert manifest.captions == summary.captions and summary.captions.num_captions == 5
    assert (manifest.precision, manifest.encoder_sha256) == ("fp32", read_record(encoder).identity_sha256)
    assert [(shard.file, shard.rows) for shard in manifest.shards] == [
        (f"shards/scenes-demo-1-0000{index}.safetensors", rows) for index, rows in enumerate((3, 2, 0))
    ]
    assert manifest.shards[0].sha256 == sha256_file(folder / manifest.shards[0].file)


def test_an_unfinished_folder_gets_no_manifest(curated: Path, encoder: Path, folder: Path):
    jobs = make_plan(curated, encoder)
    run_all(jobs[:-1], folder)

    with pytest.raises(ValueError, match=r"not encoded yet: scenes-demo-1-00002"):
        finish(folder, jobs)

    assert not (folder / "manifest.json").exists()


def test_a_value_beyond_fp16_is_an_error_that_names_the_caption(tmp_path: Path, folder: Path):
    encoder = make_encoder(tmp_path / "encoder")
    scale_outputs(encoder, 1e5)
    jobs = make_plan(make_curated(tmp_path / "curated", {"demo-1-00000": ["a frog"]}), encoder)

    with pytest.raises(ValueError, match=r"caption '': a value of .* does not fit fp16 \(65504\)"):
        run_all(jobs, folder)

    assert not folder.exists()


def scale_outputs(encoder: Path, factor: float) -> None:
    weights = load_file(encoder / "model.safetensors")
    weights["encoder.final_layer_norm.weight"] *= factor
    save_file(weights, encoder / "model.safetensors", {"format": "pt"})
    write_record(encoder, hash_folder(encoder, "tiny", None, "stored"))


def test_a_plan_depends_on_no_clock_and_holds_all_a_job_needs(curated: Path, encoder: Path):
    jobs = make_plan(curated, encoder)

    assert jobs == make_plan(curated, encoder)
    assert [job.name for job in jobs][:3] == [NULL, FIRST, SECOND]
    assert json.loads(jobs[1].spec)["shard"] == str(curated / "scenes/shards/demo-1-00000.parquet")


def test_captions_in_an_unknown_script_are_counted_and_known_ones_are_not(tmp_path: Path, encoder: Path, folder: Path):
    texts = ["a banana on a pink background", "\u6771\u4eac \u5927\u962a \u4eac\u90fd", "a large red apple"]
    curated = make_curated(tmp_path / "curated-unknown", {"demo-1-00000": texts})
    jobs = make_plan(curated, encoder, max_length=64)
    run_all(jobs, folder)

    lint = finish(folder, jobs).captions

    assert (lint.num_captions, lint.num_unknown, lint.num_distinct) == (3, 1, 3)
    assert lint.problems() == ["1 of 3 captions are mostly words that the text encoder does not know"]
