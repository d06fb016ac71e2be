import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minimagen.rows import Rejection
from minimagen.sources.decode_apart import decode_apart
from minimagen.sources.images import normalise_image
from tests.sources.crashing_decoder import write_crash
from tests.sources.remote_case import RULES

MAX_BYTES = 100 * 2**20


def picture(seed: int = 0) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def dies_of(raw: bytes, signal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [write_crash(tmp_path / "site", raw, signal), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, folders)))


@pytest.mark.parametrize("raw", [picture(), picture()[:-30], b"GIF89a, or so it says"])
def test_the_outcome_is_that_of_decoding_here(raw: bytes) -> None:
    assert decode_apart(raw, RULES, MAX_BYTES) == normalise_image(raw, RULES, max_decode_bytes=MAX_BYTES)


@pytest.mark.parametrize("signal", ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGXCPU"])
def test_a_picture_that_the_decoder_dies_of_is_undecodable(
    signal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dies_of(picture(), signal, tmp_path, monkeypatch)

    outcome = decode_apart(picture(), RULES, MAX_BYTES)

    assert outcome == Rejection("undecodable", f"the decoder dies of it: {signal}")
    assert decode_apart(picture(1), RULES, MAX_BYTES) == normalise_image(picture(1), RULES)


def test_of_a_process_that_is_killed_from_outside_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dies_of(picture(), "SIGKILL", tmp_path, monkeypatch)

    assert decode_apart(picture(), RULES, MAX_BYTES) is None


def test_a_process_that_does_not_work_is_no_fault_of_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "PIL").mkdir()
    (tmp_path / "PIL/__init__.py").write_text("raise ImportError('this is no Pillow')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)

    with pytest.raises(RuntimeError, match="this is no Pillow"):
        decode_apart(picture(), RULES, MAX_BYTES)
