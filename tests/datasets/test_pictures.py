import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minimagen.datasets.pictures import Pictures, decode_picture, pictures_in_file, pictures_in_memory

SHAPES = [(4, 4), (3, 7), (1, 1), (9, 2)]


def decoded() -> Iterator[np.ndarray]:
    generator = np.random.default_rng(0)
    for height, width in SHAPES:
        yield generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


def assert_same(pictures: Pictures) -> None:
    assert len(pictures) == len(SHAPES)
    for position, expected in enumerate(decoded()):
        np.testing.assert_array_equal(pictures.picture(position), expected)


def never() -> Iterator[np.ndarray]:
    raise AssertionError("decoded although the file is there")
    yield


def png(height: int, width: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def test_pictures_of_any_aspect_come_back_from_memory() -> None:
    assert_same(pictures_in_memory(decoded()))


def test_pictures_come_back_from_a_file_that_is_decoded_once(tmp_path: Path) -> None:
    assert_same(pictures_in_file(tmp_path / "cache" / "p.u8", decoded()))
    assert_same(pictures_in_file(tmp_path / "cache" / "p.u8", never()))

    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["p.json", "p.u8"]


@pytest.mark.parametrize("name", ["p.u8", "p.json"])
def test_a_damaged_file_is_made_again(tmp_path: Path, name: str) -> None:
    pictures_in_file(tmp_path / "p.u8", decoded())
    content = bytearray((tmp_path / name).read_bytes())
    content[-20] ^= 1
    (tmp_path / name).write_bytes(content[: -2 if name == "p.json" else None])

    assert_same(pictures_in_file(tmp_path / "p.u8", decoded()))


def test_an_interrupted_decoding_leaves_nothing_that_counts(tmp_path: Path) -> None:
    def interrupted() -> Iterator[np.ndarray]:
        yield next(decoded())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pictures_in_file(tmp_path / "p.u8", interrupted())

    assert list(tmp_path.iterdir()) == []
    assert_same(pictures_in_file(tmp_path / "p.u8", decoded()))


def test_no_pictures_are_fine(tmp_path: Path) -> None:
    assert len(pictures_in_memory([])) == len(pictures_in_file(tmp_path / "p.u8", [])) == 0


def test_a_random_crop_keeps_the_aspect_and_every_other_is_square_at_once() -> None:
    assert decode_picture(png(20, 30), 10, "random").shape == (10, 15, 3)
    for crop in ("center", "top", "pad", "squash"):
        assert decode_picture(png(20, 30), 10, crop).shape == (10, 10, 3)


def test_a_smaller_picture_is_enlarged() -> None:
    assert decode_picture(png(5, 6), 10, "random").shape == (10, 12, 3)
