import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minimagen.rows import Rejection
from minimagen.sources.image_memory import decode_bytes
from minimagen.sources.images import normalise_image
from tests.sources.hostile_host import picture_files
from tests.sources.picture_parts import Part, join_jpeg, split_jpeg
from tests.sources.remote_case import RULES

SIDE = 2000
FILES = picture_files(SIDE)
MEGABYTE = 2**20


def estimate(raw: bytes) -> int:
    with Image.open(io.BytesIO(raw)) as image:
        size = image.size
        image.draft("RGB", (64, 64))
        return decode_bytes(image, raw, size)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    folder = tmp_path_factory.mktemp("big")
    for name, raw in FILES.items():
        (folder / name).write_bytes(raw)
    command = [sys.executable, "-m", "tests.sources.peak_memory", str(folder)]
    result = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, check=True)
    return {name: kilobytes * 1024 for name, kilobytes in json.loads(result.stdout).items()}


@pytest.mark.parametrize("name", FILES)
def test_a_picture_takes_what_its_header_tells_and_a_few_megabytes_to_work_in(
    name: str, measured: dict[str, int]
) -> None:
    told = estimate(FILES[name])

    assert told / 2 - MEGABYTE < measured[name] < told + 17 * MEGABYTE


@pytest.mark.parametrize(
    ("name", "bytes_per_pixel"),
    [
        ("rgba.png", 4),
        ("palette.png", 1),
        ("deep.png", 2),
        ("picture.webp", 16),
        ("baseline.jpg", 4 / 64),
        ("progressive.jpg", 4 / 64 + 6),
        ("cmyk.jpg", 4 / 64 + 8),
    ],
)
def test_bytes_per_pixel(name: str, bytes_per_pixel: float) -> None:
    assert estimate(FILES[name]) == SIDE**2 * bytes_per_pixel


def test_a_jpeg_whose_channels_come_one_after_the_other_needs_room_for_all_of_them() -> None:
    *segments, scan = split_jpeg(FILES["baseline.jpg"])
    one_channel = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + scan.payload[14:]

    assert estimate(join_jpeg([*segments, Part(b"", one_channel)])) == SIDE**2 * (4 / 64 + 6)


def test_a_thumbnail_within_a_jpeg_is_none_of_its_scans() -> None:
    thumbnail = join_jpeg(split_jpeg(FILES["progressive.jpg"])[:5])
    first, *rest = split_jpeg(FILES["baseline.jpg"])

    raw = join_jpeg([first, Part(b"\xff\xe5", thumbnail + b"\xff\xda\x00\x08\x01"), *rest])

    assert estimate(raw) == SIDE**2 * 4 / 64


@pytest.mark.parametrize("name", FILES)
def test_the_limit_is_what_the_header_tells(name: str) -> None:
    needed = estimate(FILES[name])

    refused = normalise_image(FILES[name], RULES, max_decode_bytes=needed - 1)

    assert isinstance(refused, Rejection) and refused.reason == "too_many_pixels"
    assert not isinstance(normalise_image(FILES[name], RULES, max_decode_bytes=needed), Rejection)


def test_flattening_in_strips_gives_the_bits_of_one_step() -> None:
    raw = FILES["rgba.png"]
    with Image.open(io.BytesIO(raw)) as image:
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        expected = Image.alpha_composite(white, image).convert("RGB").resize((32, 32), Image.Resampling.LANCZOS)

    stored = normalise_image(raw, RULES)

    assert not isinstance(stored, Rejection)
    with Image.open(io.BytesIO(stored.content)) as image:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))
