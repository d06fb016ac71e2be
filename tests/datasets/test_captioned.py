from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from minimagen.datasets.captioned import CaptionedImages, Split, read_null_embeds
from minimagen.datasets.transforms import Crop, to_float
from tests.datasets.prepared import TEXT_DIM, curated_record, pixels_of, tokens_of, write_prepared

SHARDS = {
    "demo-1-00000": [curated_record(number, "validation" if number % 3 == 0 else "train") for number in range(7)],
    "demo-1-00001": [],
    "demo-1-00002": [curated_record(number, "train") for number in (11, 12, 13)],
}


def load(
    root: Path,
    *,
    split: Split = "train",
    size: int = 8,
    crop: Crop = "center",
    crop_size: int | None = None,
    cache: Path | None = None,
) -> CaptionedImages:
    return CaptionedImages.load(
        root / "curated", root / "embeddings", split=split, size=size, crop=crop, crop_size=crop_size, cache=cache
    )


def test_a_split_holds_its_rows_in_the_order_of_the_shards(tmp_path: Path) -> None:
    write_prepared(tmp_path, SHARDS)

    train, validation = load(tmp_path), load(tmp_path, split="validation")

    assert train.keys == [f"folder:{number}" for number in (1, 2, 4, 5, 11, 12, 13)]
    assert validation.keys == ["folder:0", "folder:3", "folder:6"]
    assert train.extras[1] == '{"number":2}' and train.captions[1] == "word word"
    assert (len(train), len(validation), train.text_dim) == (7, 3, TEXT_DIM)


def test_a_batch_joins_pictures_and_captions_of_the_asked_rows(tmp_path: Path) -> None:
    write_prepared(tmp_path, SHARDS)

    batch = load(tmp_path).batch([6, 0, 6], seed=0)

    assert batch.keys == ("folder:13", "folder:1", "folder:13")
    torch.testing.assert_close(batch.images[1], to_float(pixels_of(1, (8, 8))[None])[0], rtol=0, atol=0)
    assert batch.images.shape == (3, 3, 8, 8) and batch.images.dtype == torch.float32
    assert batch.text_embeds.shape == (3, 2, TEXT_DIM) and batch.text_embeds.dtype == torch.float32
    np.testing.assert_array_equal(batch.text_embeds[1].numpy(), tokens_of("word").astype(np.float32))


def test_captions_are_padded_with_zeros_to_the_longest_of_the_batch(tmp_path: Path) -> None:
    write_prepared(tmp_path, SHARDS)
    dataset = load(tmp_path)

    batch = dataset.batch(torch.tensor([2, 1]), seed=0)  # no word, two words

    assert batch.text_mask.tolist() == [[True, False, False], [True, True, True]]
    assert (batch.text_embeds[0, 1:] == 0).all()
    np.testing.assert_array_equal(batch.text_embeds[0, :1].numpy(), tokens_of("").astype(np.float32))


def test_a_picture_is_the_same_alone_and_in_any_batch(tmp_path: Path) -> None:
    sizes = [(8, 12), (20, 9), (8, 8), (9, 30), (31, 8)]
    write_prepared(tmp_path, {"a-00000": [curated_record(i, "train", size) for i, size in enumerate(sizes)]})
    dataset = load(tmp_path, crop="random")

    together = dataset.batch([0, 1, 2, 3, 4], seed=5)

    for position in range(5):
        alone = dataset.batch([position], seed=5)
        assert torch.equal(alone.images[0], together.images[position])
        num_tokens = int(alone.text_mask.sum())
        assert torch.equal(alone.text_embeds[0], together.text_embeds[position, :num_tokens])
        assert int(together.text_mask[position].sum()) == num_tokens


def test_random_crops_follow_their_seed(tmp_path: Path) -> None:
    write_prepared(tmp_path, {"a-00000": [curated_record(1, "train", (8, 60))]})
    dataset = load(tmp_path, crop="random")

    crops = [dataset.batch([0], seed=seed).images for seed in range(6)]

    assert torch.equal(crops[3], dataset.batch([0], seed=3).images)
    assert len({crop.numpy().tobytes() for crop in crops}) > 3


def test_windows_are_parts_of_whole_pictures_and_follow_seed_and_key_alone(tmp_path: Path) -> None:
    write_prepared(tmp_path, SHARDS)
    dataset = load(tmp_path, crop_size=4)

    together, alone = dataset.batch(range(7), seed=3), dataset.batch([5], seed=3)

    assert together.windows is not None and alone.windows is not None
    assert together.images.shape == (7, 3, 8, 8) and together.trained_size == 4
    assert alone.windows.corners == together.windows.corners[5:6]
    top, left = together.windows.corners[2]
    part = together.trained_part(together.images)[2]
    assert torch.equal(part, together.images[2, :, top : top + 4, left : left + 4])


def test_windows_lie_everywhere_in_the_picture_equally_often(tmp_path: Path) -> None:
    write_prepared(tmp_path, SHARDS)
    dataset = load(tmp_path, crop_size=6)
    windows = [dataset.batch([0, 1, 2, 3, 4, 5, 6], seed=seed).windows for seed in range(300)]

    corners = Counter(corner for window in windows if window is not None for corner in window.corners)

    # 2100 draws over 9 places: 233 each, with a standard deviation of 14.
    assert set(corners) == {(top, left) for top in range(3) for left in range(3)}
    assert min(corners.values()) > 233 - 6 * 14 and max(corners.values()) < 233 + 6 * 14


def test_without_a_crop_size_all_of_a_picture_is_trained_on(tmp_path: Path) -> None:
    write_prepared(tmp_path, SHARDS)

    batch = load(tmp_path).batch([0, 1], seed=0)

    assert batch.windows is None and batch.trained_size == 8
    assert batch.trained_part(batch.images) is batch.images


@pytest.mark.parametrize("crop", ["center", "top", "pad", "squash"])
def test_the_other_crops_have_no_randomness(tmp_path: Path, crop: Crop) -> None:
    write_prepared(tmp_path, {"a-00000": [curated_record(1, "train", (24, 31))]})
    dataset = load(tmp_path, crop=crop)

    assert torch.equal(dataset.batch([0], seed=1).images, dataset.batch([0], seed=2).images)
    assert dataset.batch([0], seed=1).images.shape == (1, 3, 8, 8)


@pytest.mark.parametrize("crop", ["random", "center"])
def test_a_cache_changes_nothing_and_is_used_again(tmp_path: Path, crop: Crop) -> None:
    write_prepared(tmp_path, SHARDS)
    plain = load(tmp_path, crop=crop).batch(range(7), seed=0)

    first = load(tmp_path, crop=crop, cache=tmp_path / "cache").batch(range(7), seed=0)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    second = load(tmp_path, crop=crop, cache=tmp_path / "cache").batch(range(7), seed=0)

    assert torch.equal(plain.images, first.images) and torch.equal(first.images, second.images)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == written


def test_each_split_size_and_crop_has_its_own_cache(tmp_path: Path) -> None:
    write_prepared(tmp_path, SHARDS)

    load(tmp_path, cache=tmp_path / "cache")
    load(tmp_path, cache=tmp_path / "cache", split="validation")
    load(tmp_path, cache=tmp_path / "cache", size=4)
    load(tmp_path, cache=tmp_path / "cache", crop="random")

    assert len(list((tmp_path / "cache").glob("*.u8"))) == 4


def test_the_data_hash_is_the_same_for_both_splits_and_follows_pictures_and_captions(tmp_path: Path) -> None:
    write_prepared(tmp_path / "a", SHARDS)
    write_prepared(tmp_path / "b", SHARDS)
    changed = {"demo-1-00000": [*SHARDS["demo-1-00000"][:-1], curated_record(6, "validation", text="other")]}
    write_prepared(tmp_path / "c", SHARDS | changed)

    assert load(tmp_path / "a").data_sha256 == load(tmp_path / "b", split="validation", size=4).data_sha256
    assert load(tmp_path / "a").data_sha256 != load(tmp_path / "c").data_sha256


def test_a_curated_shard_that_changed_after_encoding_is_refused_naming_both_files(tmp_path: Path) -> None:
    curated, embeddings = write_prepared(tmp_path, SHARDS)
    other = tmp_path / "other"
    write_prepared(other, SHARDS | {"demo-1-00002": [curated_record(12, "train")]})
    for path in embeddings.rglob("*.*"):
        path.write_bytes((other / path.relative_to(tmp_path)).read_bytes())

    with pytest.raises(
        ValueError, match=r"folder-demo-1-00002\.safetensors .*curated/folder/shards/demo-1-00002\.parquet"
    ):
        load(tmp_path)
    assert curated.exists()


def test_a_flipped_bit_in_the_embeddings_is_refused(tmp_path: Path) -> None:
    _, embeddings = write_prepared(tmp_path, SHARDS)
    path = embeddings / "shards" / "folder-demo-1-00000.safetensors"
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)

    with pytest.raises(ValueError, match=r"folder-demo-1-00000\.safetensors is damaged"):
        load(tmp_path)


def test_an_unfinished_stage_is_named(tmp_path: Path) -> None:
    curated, embeddings = write_prepared(tmp_path, SHARDS)

    (embeddings / "manifest.json").unlink()
    with pytest.raises(ValueError, match=r"embeddings/manifest\.json: no such file"):
        load(tmp_path)
    (curated / "manifest.json").unlink()
    with pytest.raises(ValueError, match=r"curated/manifest\.json: no such file"):
        load(tmp_path)


def test_an_empty_split_is_an_error(tmp_path: Path) -> None:
    write_prepared(tmp_path, {"a-00000": [curated_record(1, "train")]})

    with pytest.raises(ValueError, match="no picture of split 'validation'"):
        load(tmp_path, split="validation")


def test_a_split_of_one_picture_works(tmp_path: Path) -> None:
    write_prepared(tmp_path, {"a-00000": [curated_record(4, "train", (3, 5))]})

    batch = load(tmp_path, size=4).batch([0], seed=0)

    assert batch.images.shape == (1, 3, 4, 4) and batch.text_embeds.shape == (1, 1, TEXT_DIM)


def test_the_null_caption_is_read_in_single_precision(tmp_path: Path) -> None:
    _, embeddings = write_prepared(tmp_path, SHARDS)

    null = read_null_embeds(embeddings)

    assert null.shape == (1, 1, TEXT_DIM) and null.dtype == torch.float32
    with pytest.raises(ValueError, match=r"null\.safetensors: no such file"):
        read_null_embeds(tmp_path)
