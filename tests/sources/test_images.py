import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn

from minimagen.config import ImageRules
from minimagen.files import sha256_bytes
from minimagen.rows import Rejection
from minimagen.sources.images import (
    NormalisedImage,
    OpenedImage,
    encode_image,
    finish_images,
    normalise_image,
    open_image,
)
from minimagen.sources.perceptual_hash import perceptual_hash, perceptual_hashes

RULES = ImageRules(
    store_size=32, min_side=8, max_aspect=3.0, max_pixels=1_000_000, min_std=2.0, animated="first_frame", encoding="png"
)


def noise(width: int, height: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(width: int, height: int) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=-1).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def stored(raw: bytes, rules: ImageRules = RULES) -> NormalisedImage:
    result = normalise_image(raw, rules)
    assert isinstance(result, NormalisedImage), result
    return result


def pixels_of(image: NormalisedImage) -> np.ndarray:
    with Image.open(io.BytesIO(image.content)) as opened:
        assert opened.mode == "RGB"
        return np.asarray(opened).astype(np.int64)


def reason_of(raw: bytes, **changes: object) -> str:
    result = normalise_image(raw, RULES.model_copy(update=changes))
    assert isinstance(result, Rejection), result
    assert result.detail
    return result.reason


def with_size(png: bytes, width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">II", width, height) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


def test_a_png_within_the_rules_keeps_its_pixels() -> None:
    original = noise(20, 24)
    raw = encoded(Image.fromarray(original))

    image = stored(raw)

    np.testing.assert_array_equal(pixels_of(image), original)
    assert (image.width, image.height, image.orig_width, image.orig_height) == (20, 24, 20, 24)
    assert (image.format, image.sha256) == ("png", sha256_bytes(raw))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_every_allowed_format_is_read_whatever_its_name_says(kind: str) -> None:
    assert np.abs(pixels_of(stored(encoded(smooth(30, 30), kind))) - np.asarray(smooth(30, 30))).mean() < 12


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "AVIF", "PPM", "ICO"])
def test_other_formats_are_not_images(kind: str) -> None:
    assert reason_of(encoded(smooth(32, 32), kind)) == "not_an_image"


def test_an_html_page_named_jpg_says_that_it_looks_like_html() -> None:
    result = normalise_image(b"<!DOCTYPE html><html><body>404</body></html>", RULES)

    assert isinstance(result, Rejection)
    assert result.reason == "not_an_image" and "HTML" in result.detail


@pytest.mark.parametrize(
    "raw", [b"", b"\x00" * 64, b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe-3.0 EPSF"]
)
def test_what_is_no_picture_is_rejected(raw: bytes) -> None:
    assert reason_of(raw) == "not_an_image"


@pytest.mark.parametrize(("width", "height"), [(1001, 1000), (20_000, 20_000), (65_535, 65_535)])
def test_a_decompression_bomb_is_stopped_at_its_header(width: int, height: int) -> None:
    assert reason_of(with_size(encoded(smooth(9, 9)), width, height)) == "too_many_pixels"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_truncated_files_are_rejected_never_filled_up(kind: str) -> None:
    raw = encoded(Image.fromarray(noise(32, 32)), kind)

    for length in range(1, len(raw) - 40, max(1, len(raw) // 25)):
        assert reason_of(raw[:length]) in {"undecodable", "not_an_image"}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_flipped_bits_end_in_a_picture_or_a_rejection(kind: str) -> None:
    raw = encoded(Image.fromarray(noise(32, 32)), kind)
    generator = np.random.default_rng(7)

    for position in generator.integers(0, len(raw), 120):
        damaged = bytearray(raw)
        damaged[position] ^= 1 << int(generator.integers(8))
        assert isinstance(normalise_image(bytes(damaged), RULES), NormalisedImage | Rejection)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied_and_sizes_are_as_shown(orientation: int) -> None:
    upright = smooth(32, 20)
    turns = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    turn = turns[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    raw = encoded(upright if turn is None else upright.transpose(turn), "PNG", exif=exif)

    image = stored(raw)

    np.testing.assert_array_equal(pixels_of(image), np.asarray(upright))
    assert (image.orig_width, image.orig_height) == (32, 20)


@pytest.mark.parametrize("encoding", ["png", "jpeg"])
def test_metadata_does_not_reach_the_store(encoding: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = "SECRET PLACE"
    exif.get_ifd(0x8825)[1] = "N"
    raw = encoded(
        smooth(32, 32), "JPEG", exif=exif, comment=b"SECRET COMMENT", icc_profile=b"SECRET PROFILE", dpi=(72, 72)
    )
    assert raw.count(b"SECRET") == 3

    image = stored(raw, RULES.model_copy(update={"encoding": encoding}))

    assert b"SECRET" not in image.content
    with Image.open(io.BytesIO(image.content)) as opened:
        assert not opened.getexif() and "icc_profile" not in opened.info and "comment" not in opened.info


def test_hidden_colours_under_transparency_do_not_show() -> None:
    rgba = np.zeros((32, 32, 4), np.uint8)
    rgba[..., 1] = 255  # green everywhere, visible only in the left half
    rgba[:, :16, 3] = 255

    pixels = pixels_of(stored(encoded(Image.fromarray(rgba))))

    assert (pixels[:, :16] == (0, 255, 0)).all() and (pixels[:, 16:] == 255).all()


def test_transparency_is_composited_on_the_configured_background() -> None:
    rgba = np.zeros((32, 32, 4), np.uint8)
    rgba[:, :16] = (200, 100, 0, 128)

    pixels = pixels_of(stored(encoded(Image.fromarray(rgba)), RULES.model_copy(update={"background": (0, 0, 255)})))

    assert (pixels[:, 16:] == (0, 0, 255)).all()
    assert np.abs(pixels[:, :16] - np.array([100, 50, 127])).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_entry_becomes_background(kind: str) -> None:
    image = Image.fromarray(np.repeat(np.repeat([[0, 1]], 32, 0), 16, 1).astype(np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 255, 0] + [0] * 762)

    pixels = pixels_of(stored(encoded(image, kind, transparency=1)))

    assert (pixels[:, :16] == (255, 0, 0)).all() and (pixels[:, 16:] == 255).all()


def test_a_palette_with_alpha_bytes_is_composited() -> None:
    image = Image.fromarray(np.repeat(np.repeat([[0, 1]], 32, 0), 16, 1).astype(np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 0, 0] + [0] * 762)

    pixels = pixels_of(stored(encoded(image, "PNG", transparency=bytes([255, 0]))))

    assert (pixels[:, 16:] == 255).all()


@pytest.mark.parametrize("transparency", [None, (10, 20, 30)])
def test_a_transparent_rgb_colour_becomes_background(transparency: tuple[int, int, int] | None) -> None:
    rgb = np.asarray(smooth(32, 32)).copy()
    rgb[:, :8] = (10, 20, 30)
    options = {} if transparency is None else {"transparency": transparency}

    pixels = pixels_of(stored(encoded(Image.fromarray(rgb), "PNG", **options)))

    assert (pixels[:, :8] == ((10, 20, 30) if transparency is None else (255, 255, 255))).all()


def test_grey_with_alpha_is_composited() -> None:
    la = np.zeros((32, 32, 2), np.uint8)
    la[:, :16, 1] = 255

    pixels = pixels_of(stored(encoded(Image.fromarray(la, "LA"))))

    assert (pixels[:, :16] == 0).all() and (pixels[:, 16:] == 255).all()


def test_cmyk_becomes_rgb_of_about_the_same_colours() -> None:
    picture = smooth(32, 32)

    pixels = pixels_of(stored(encoded(picture.convert("CMYK"), "JPEG", quality=100)))

    assert np.abs(pixels - np.asarray(picture)).mean() < 6


def test_sixteen_bit_grey_uses_the_whole_range_and_keeps_its_transparency() -> None:
    grey = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    raw = encoded(Image.fromarray(grey))

    pixels = pixels_of(stored(raw))
    see_through = pixels_of(stored(encoded(Image.fromarray(grey), "PNG", transparency=int(grey[0, 0]))))

    assert np.abs(pixels[..., 0] - grey / 257).max() <= 0.51
    assert (see_through[0, 0] == 255).all() and (see_through[1:] == pixels[1:]).all()


def test_one_bit_pictures_become_black_and_white() -> None:
    pixels = pixels_of(stored(encoded(smooth(32, 32).convert("1"))))

    assert set(np.unique(pixels)) == {0, 255}


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_kept_or_the_file_is_rejected(kind: str) -> None:
    frames = [Image.fromarray(noise(32, 32, seed=seed)).convert("P" if kind == "GIF" else "RGB") for seed in range(3)]
    options = {"lossless": True} if kind == "WEBP" else {}
    raw = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100, **options)

    pixels = pixels_of(stored(raw))

    assert np.abs(pixels - np.asarray(frames[0].convert("RGB"))).mean() < 8
    assert reason_of(raw, animated="reject") == "animated"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_single_frame_is_no_animation(kind: str) -> None:
    stored(encoded(smooth(32, 32), kind), RULES.model_copy(update={"animated": "reject"}))


def test_a_jpeg_with_a_second_picture_is_a_photograph() -> None:
    raw = encoded(smooth(32, 32), "MPO", save_all=True, append_images=[smooth(32, 32).rotate(90)])

    image = stored(raw, RULES.model_copy(update={"animated": "reject"}))

    assert np.abs(pixels_of(image) - np.asarray(smooth(32, 32))).mean() < 6


@pytest.mark.parametrize(
    ("size", "reason"),
    [((7, 20), "too_small"), ((1, 1), "too_small"), ((8, 25), "extreme_aspect"), ((90, 8), "extreme_aspect")],
)
def test_tiny_and_extreme_pictures_are_rejected(size: tuple[int, int], reason: str) -> None:
    assert reason_of(encoded(smooth(*size))) == reason


@pytest.mark.parametrize("size", [(8, 8), (8, 24), (24, 8)])
def test_the_limits_themselves_are_allowed(size: tuple[int, int]) -> None:
    stored(encoded(smooth(*size)))


@pytest.mark.parametrize("colour", [(255, 255, 255), (255, 0, 0), (17, 230, 90)])
def test_flat_placeholders_are_rejected_in_any_colour(colour: tuple[int, int, int]) -> None:
    assert reason_of(encoded(Image.new("RGB", (32, 32), colour))) == "flat"


def test_with_a_zero_limit_nothing_is_flat() -> None:
    stored(encoded(Image.new("RGB", (32, 32))), RULES.model_copy(update={"min_std": 0.0}))


@pytest.mark.parametrize(("size", "expected"), [((64, 96), (32, 48)), ((97, 65), (48, 32)), ((33, 33), (32, 32))])
def test_the_short_side_shrinks_to_the_store_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    image = stored(encoded(smooth(*size)))

    assert (image.width, image.height) == expected
    assert (image.orig_width, image.orig_height) == size


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[:, ::2] = 255
    stripes[:8] = 255  # not flat

    assert np.abs(pixels_of(stored(encoded(Image.fromarray(stripes))))[4:, 2:-2] - 127.5).max() < 4


def test_a_big_jpeg_is_shrunk_while_decoding_to_nearly_the_same_picture() -> None:
    raw = encoded(smooth(640, 480), "JPEG", quality=95)

    image = stored(raw)

    expected = np.asarray(smooth(640, 480).resize((43, 32), Image.Resampling.LANCZOS)).astype(np.int64)
    assert (image.width, image.height, image.orig_width, image.orig_height) == (43, 32, 640, 480)
    assert np.abs(pixels_of(image) - expected).mean() < 2


def test_a_jpeg_store_has_quality_95_and_full_colour_resolution() -> None:
    image = stored(encoded(smooth(32, 32)), RULES.model_copy(update={"encoding": "jpeg"}))

    with Image.open(io.BytesIO(image.content)) as opened:
        assert opened.format == "JPEG"
        assert [layer[1:3] for layer in opened.layer] == [(1, 1)] * 3  # pyright: ignore[reportAttributeAccessIssue]
        assert max(opened.quantization[0]) <= 12  # pyright: ignore[reportAttributeAccessIssue]
    assert np.abs(pixels_of(image) - np.asarray(smooth(32, 32))).max() <= 4


def test_the_same_file_gives_the_same_bytes() -> None:
    raw = encoded(Image.fromarray(noise(90, 70)), "JPEG")

    assert normalise_image(raw, RULES) == normalise_image(raw, RULES)


def test_the_hash_agrees_with_an_independent_dct() -> None:
    for seed in range(8):
        picture = Image.fromarray(noise(8, 8, seed=seed)).resize((50, 40), Image.Resampling.BICUBIC)
        grey = np.asarray(picture.convert("L").resize((32, 32), Image.Resampling.LANCZOS)).astype(float)
        rows = np.asarray(dctn(grey, type=2))[:8, :8]
        expected = int.from_bytes(np.packbits(rows > np.median(rows)).tobytes(), "big", signed=True)

        assert (perceptual_hash(picture) ^ expected).bit_count() <= 1


def test_like_pictures_have_like_hashes_and_different_ones_do_not() -> None:
    picture = Image.fromarray(noise(6, 6)).resize((96, 96), Image.Resampling.BICUBIC)
    recompressed = Image.open(io.BytesIO(encoded(picture.resize((60, 60)), "JPEG", quality=60)))
    other = Image.fromarray(noise(6, 6, seed=1)).resize((96, 96), Image.Resampling.BICUBIC)

    def distance(left: Image.Image, right: Image.Image) -> int:
        mask = (1 << 64) - 1
        return ((perceptual_hash(left) & mask) ^ (perceptual_hash(right) & mask)).bit_count()

    assert distance(picture, recompressed) <= 4
    assert distance(picture, other) > 16
    assert distance(picture, picture.convert("L").convert("RGB")) <= 2  # colour is not seen


def test_hashes_of_many_are_those_of_a_picture_shrunk_by_pillow_alone() -> None:
    sizes = [(64, 64), (64, 64), (32, 32), (90, 32), (32, 90), (7, 5), (5, 7), (300, 64), (1, 1), (88, 88), (89, 89)]
    sizes += [(width, 1 + width * 2 // 3) for width in range(2, 90, 3)]
    pictures = [Image.fromarray(noise(*size, seed=seed)) for seed, size in enumerate(sizes)]
    small = [picture.convert("L").resize((32, 32), Image.Resampling.LANCZOS).convert("RGB") for picture in pictures]

    assert perceptual_hashes(pictures) == [perceptual_hash(picture) for picture in small]
    assert perceptual_hashes([]) == []


def test_pictures_finished_together_are_those_finished_alone() -> None:
    kinds = ("PNG", "JPEG", "GIF", "WEBP")
    good = [encoded(smooth(40 + 8 * number, 48), kind) for number in range(4) for kind in kinds]
    files = [*good[:7], encoded(Image.new("RGB", (64, 64))), good[5][:-80], *good[8:]]
    opened = [open_image(file, RULES) for file in files]
    begun: list[int] = []

    together = finish_images([one for one in opened if isinstance(one, OpenedImage)], RULES, begin=begun.append)

    assert together == [normalise_image(file, RULES) for file in files]
    assert {one.reason for one in together if isinstance(one, Rejection)} == {"flat", "undecodable"}
    assert begun[: len(files)] == list(range(len(files)))


def test_the_hash_fits_a_signed_64_bit_column() -> None:
    values = [perceptual_hash(Image.fromarray(noise(16, 16, seed=seed))) for seed in range(40)]

    assert len(set(values)) == 40
    assert all(-(2**63) <= value < 2**63 for value in values)


def test_encoding_is_free_of_what_the_picture_carries(tmp_path: Path) -> None:
    picture = smooth(16, 16)
    picture.info["icc_profile"] = b"SECRET"

    assert b"SECRET" not in encode_image(picture, "png") + encode_image(picture, "jpeg")
