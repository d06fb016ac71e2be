"""A cascade that is exported is whole, opens anywhere, and its card says what the records say."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from minimagen.datasets.captioned import data_sha256_of
from minimagen.embeddings import read_embedding_manifest
from minimagen.errors import UserError
from minimagen.files import sha256_file
from minimagen.manifest import read_manifest, write_manifest
from minimagen.pipeline import Cascade
from minimagen.saved_model import read_model, write_model
from minimagen.stages.export_cascade import run_export_cascade
from tests.contents import files_below
from tests.datasets.prepared import curated_record, write_prepared
from tests.small_cascade import CORPUS, write_small_cascade

COUNTS = {"train": 1234, "validation": 56, "folder/train": 1234, "folder/validation": 56, "rejected/duplicate": 7}
METRICS = {"alignment": {"joint": 0.987654, "chance": 0.01}, "unets": {"super": {"psnr": 28.25}}, "note": "text"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a cascade that was trained on its data, and evaluated."""
    data = write_small_cascade(tmp_path / "data")
    curated, embeddings = write_prepared(
        data, {"2026-a-00000": [curated_record(1, "train"), curated_record(2, "train")]}
    )
    write_manifest(curated, replace(read_manifest(curated), counts=COUNTS))
    trained_on = data_sha256_of(read_manifest(curated), read_embedding_manifest(embeddings))
    for name in ("base", "super"):
        model = read_model(data / "models" / name)
        record = model.record.model_copy(update={"data_sha256": trained_on, "num_steps": 4321})
        write_model(data / "models" / name, record, model.tensors)
    (data / "eval").mkdir()
    (data / "eval/metrics.json").write_text(json.dumps(METRICS))
    return tmp_path


def test_the_folder_draws_elsewhere_what_the_project_draws(project: Path, tmp_path: Path) -> None:
    run_export_cascade(project / "out", project)
    elsewhere = (project / "out").rename(tmp_path / "else where")

    drawn, expected = (Cascade.load(folder).sample([CORPUS[0]]).pixels for folder in (elsewhere, project / "data"))

    assert all(np.array_equal(drawn[name], expected[name]) for name in expected)


def test_a_plain_safetensors_reader_opens_the_weights(project: Path) -> None:
    run_export_cascade(project / "out", project)

    for name in ("base", "super"):
        tensors = load_file(project / "out/models" / name / "model.safetensors")
        record = read_model(project / "data/models" / name)
        assert {key: value.shape for key, value in tensors.items()} == {
            key: tuple(value.shape) for key, value in record.tensors.items()
        }


def test_the_card_says_what_the_records_say(project: Path) -> None:
    run_export_cascade(project / "out", project)
    card = (project / "out/README.md").read_text()

    parameters = {
        name: sum(value.numel() for value in read_model(project / "data/models" / name).tensors.values())
        for name in ("base", "super")
    }
    for told in (
        "# Text to image, 8 px -> 16 px",
        f"| base | 8 | noise | {parameters['base']:,} | 4,321 | v | cosine, log-SNR +0 | 0.1 | ddpm, 3 steps, ",
        f"| super | 16 | 8 | {parameters['super']:,} |",
        "All read captions with tiny (it tells words apart but knows no meaning), at most 16 tokens.",
        "1,234 pictures for training, 56 held out, 7 rejected (7 duplicate).",
        read_manifest(project / "data/curated").data_sha256,
        read_model(project / "data/models/base").record.data_sha256,
        "| folder | CC0-1.0 | 2026-a | 1,234 | 56 |",
        "| alignment.joint | 0.9877 |",
        "| unets.super.psnr | 28.25 |",
        'Cascade.load("out").sample(',
        'load_file("out/models/super/model.safetensors")',
    ):
        assert told in card
    for name in ("cascade.json", "models/super/model.safetensors", "text_encoder/spiece.model"):
        assert f"| `{name}` | `{sha256_file(project / 'out' / name)}` |" in card


@pytest.mark.long
def test_the_lines_of_the_card_run(project: Path, checkout: Path) -> None:
    run_export_cascade(project / "out", project)
    lines = [line[4:] for line in (project / "out/README.md").read_text().splitlines() if line.startswith("    ")]

    program = "\n".join([*lines, "assert samples.pixels['super'].shape == (1, 16, 16, 3)"])
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=project,
        env={"PYTHONPATH": str(checkout), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_two_exports_are_the_same_bytes_and_replace_each_other(project: Path) -> None:
    run_export_cascade(project / "out", project)
    first = files_below(project / "out")

    run_export_cascade(project / "out", project)

    assert files_below(project / "out") == first


def test_without_an_evaluation_the_card_says_so(project: Path) -> None:
    (project / "data/eval/metrics.json").unlink()

    run_export_cascade(project / "out", project)

    assert "Not evaluated." in (project / "out/README.md").read_text()


def test_a_cascade_of_other_data_is_refused_and_the_earlier_export_stays(project: Path) -> None:
    run_export_cascade(project / "out", project)
    before = files_below(project / "out")
    write_prepared(project / "data", {"2026-b-00000": [curated_record(3, "train")]})

    with pytest.raises(UserError, match=r"models/base was trained on data .* run `dvc repro`"):
        run_export_cascade(project / "out", project)

    assert files_below(project / "out") == before


@pytest.mark.parametrize("file", ["models/super/model.safetensors", "text_encoder/model.safetensors"])
def test_a_damaged_cascade_is_not_exported(project: Path, file: str) -> None:
    content = bytearray((project / "data" / file).read_bytes())
    content[-1] ^= 1
    (project / "data" / file).write_bytes(content)

    with pytest.raises(UserError):
        run_export_cascade(project / "out", project)

    assert not (project / "out").exists()


def test_a_folder_of_the_users_is_left_alone(project: Path) -> None:
    (project / "out").mkdir()
    (project / "out/thesis.txt").write_text("mine")

    with pytest.raises(UserError, match="is not empty and not an earlier export"):
        run_export_cascade(project / "out", project)

    assert [path.read_text() for path in (project / "out").iterdir()] == ["mine"]
