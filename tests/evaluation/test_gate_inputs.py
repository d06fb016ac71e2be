import json
from pathlib import Path

import pytest

from minimagen.errors import MissingFileError, UserError
from minimagen.evaluation.gate_inputs import read_evaluation

SAMPLE = {"key": "a:1", "caption": "a frog", "picture": "00ff", "psnr": {"base": 20.0, "super": 24.0}}
SCORES = {"denoising": {"times": [0.25, 0.75], "samples": [SAMPLE]}}


def write(folder: Path, scores: object) -> Path:
    (folder / "scores.json").write_text(json.dumps(scores))
    (folder / "metrics.json").write_text('{"unets": {"base": {"loss": 0.5}}, "num": 3}')
    return folder


def test_an_evaluation_is_read_by_sample_and_by_dotted_name(tmp_path: Path) -> None:
    found = read_evaluation(write(tmp_path, SCORES))

    assert found.samples["a:1"].caption == "a frog"
    assert found.samples["a:1"].score == 22.0
    assert found.metrics == {"unets.base.loss": 0.5, "num": 3.0}
    assert found.method == "PSNR under noise at t = 0.25, 0.75"


def test_scores_from_before_the_gate_ask_for_a_new_evaluation(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"scores.json: no scores for the gate \(KeyError\('denoising'\)\): evaluate"):
        read_evaluation(write(tmp_path, {"held_out": []}))


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"scores.json: no such file: stage evaluate has not finished"):
        read_evaluation(tmp_path)
    (tmp_path / "scores.json").write_text("{")
    with pytest.raises(UserError, match=r"scores.json: damaged"):
        read_evaluation(tmp_path)
