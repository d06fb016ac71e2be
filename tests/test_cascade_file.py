import json
from pathlib import Path

import pytest

from minimagen.cascade_file import CASCADE_FILE, read_cascade_file, write_cascade_file
from minimagen.saved_model import EncoderRecord
from tests.small_cascade import small_sampling

ENCODER = EncoderRecord(name="tiny", revision=None, tokenizer_sha256="ab", max_length=64, text_dim=32)
SAMPLING = {
    "super": small_sampling(0.1).model_copy(
        update={"guidance_interval": (0.2, 0.8), "low_frequency_consistency": True}
    ),
    "base": small_sampling(None, sampler="heun"),
}


def test_what_is_written_is_read_in_its_order(tmp_path: Path) -> None:
    write_cascade_file(tmp_path / CASCADE_FILE, SAMPLING, ENCODER)

    found = read_cascade_file(tmp_path).sampling

    assert list(found.items()) == list(SAMPLING.items())


def test_a_file_from_before_there_were_options_is_read(tmp_path: Path) -> None:
    write_cascade_file(tmp_path / CASCADE_FILE, SAMPLING, ENCODER)
    document = json.loads((tmp_path / CASCADE_FILE).read_bytes())
    for settings in document["sampling"].values():
        del settings["guidance_interval"], settings["low_frequency_consistency"]
    (tmp_path / CASCADE_FILE).write_text(json.dumps(document))

    found = read_cascade_file(tmp_path).sampling["super"]

    assert (found.guidance_interval, found.low_frequency_consistency) == (None, False)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cascade\.json: no such file"):
        read_cascade_file(tmp_path)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"format_version": 1, "cascade": ["base"], "sampling": {}}'])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CASCADE_FILE).write_bytes(content)

    with pytest.raises(ValueError, match=r"cascade\.json: not (a record of a cascade|JSON)"):
        read_cascade_file(tmp_path)


def test_another_format_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / CASCADE_FILE).write_text('{"format_version": 9}')

    with pytest.raises(ValueError, match="format version 9, this program reads 1"):
        read_cascade_file(tmp_path)
