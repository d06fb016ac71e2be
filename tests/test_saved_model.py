"""A model folder comes back as it was written, or says which file is wrong."""

import json
from pathlib import Path

import pytest
import torch

from minimagen.config import DiffusionConfig, UNetConfig
from minimagen.errors import MissingFileError
from minimagen.saved_model import EncoderRecord, ModelRecord, read_model, write_model
from minimagen.sealed import SealError, write_sealed
from minimagen.tensor_file import NotFiniteError

RECORD = ModelRecord(
    name="super",
    image_size=32,
    low_res_size=16,
    unet=UNetConfig(
        dim=8,
        dim_mults=(1, 2),
        num_resnet_blocks=(1, 2),
        layer_attns=(False, False),
        layer_cross_attns=(False, True),
        memory_efficient=True,
    ),
    diffusion=DiffusionConfig(
        schedule="cosine",
        log_snr_shift=0.0,
        target="v",
        weighting="uniform",
        min_snr_gamma=5.0,
        cond_drop_prob=0.1,
        max_aug_level=0.3,
    ),
    encoder=EncoderRecord(name="tiny", revision=None, tokenizer_sha256="ab", max_length=64, text_dim=32),
    num_steps=10,
    data_sha256="cd",
)
TENSORS = {"first.weight": torch.randn(4, 3, 3, 3), "first.bias": torch.tensor(1.5)}


def test_a_model_that_was_not_trained_yet_names_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"base/MANIFEST\.json: no such file: .*base has not finished: run `dvc"):
        read_model(tmp_path / "base")


def test_a_model_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_model(tmp_path / "super", RECORD, TENSORS)

    model = read_model(tmp_path / "super")

    assert model.record == RECORD
    assert model.record.has_low_res
    assert model.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(model.tensors[name], value) for name, value in TENSORS.items())


def test_layout_and_order_of_tensors_change_no_byte(tmp_path: Path) -> None:
    other = {name: TENSORS[name].clone() for name in reversed(TENSORS)}
    other["first.weight"] = other["first.weight"].to(memory_format=torch.channels_last)

    write_model(tmp_path / "one", RECORD, TENSORS)
    write_model(tmp_path / "two", RECORD, other)

    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_the_manifest_tells_the_training_data(tmp_path: Path) -> None:
    write_model(tmp_path / "super", RECORD, TENSORS)

    assert json.loads((tmp_path / "super" / "MANIFEST.json").read_text())["data_sha256"] == "cd"


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_value_that_is_not_finite_is_never_written(tmp_path: Path, bad: float) -> None:
    with pytest.raises(NotFiniteError, match=r"first\.bias is not finite"):
        write_model(tmp_path / "super", RECORD, TENSORS | {"first.bias": torch.tensor(bad)})

    assert not (tmp_path / "super").exists()


def test_another_format_version_is_refused(tmp_path: Path) -> None:
    write_sealed(tmp_path / "super", [], {"format_version": 2})

    with pytest.raises(SealError, match="format version 2, this program reads 1"):
        read_model(tmp_path / "super")
