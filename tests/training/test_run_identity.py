"""Whatever a result depends on changes the name of its run; nothing else does."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from minimagen.source_closure import PACKAGE_FOLDER, source_closure
from minimagen.training.run_identity import RunIdentity, identify_run, source_sha256
from tests.stages.tiny_project import tiny_params

STAGE = PACKAGE_FOLDER / "stages" / "train.py"


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "manifest.json"
    path.write_text("{}")
    return path


def identify(manifest: Path, unet: str = "base", num_steps: int = 12) -> RunIdentity:
    section = tiny_params(num_steps=num_steps).unets[unet]
    return identify_run(unet, section, inputs={"curated": manifest}, stage=STAGE, device=torch.device("cpu"))


def test_equal_inputs_give_an_equal_name(manifest: Path) -> None:
    assert identify(manifest) == identify(manifest)
    assert identify(manifest).folder_name == f"base-{identify(manifest).fingerprint[:16]}"


def test_parameters_data_network_torch_and_device_change_the_name(manifest: Path) -> None:
    original = identify(manifest)
    names = {
        original.fingerprint,
        identify(manifest, num_steps=13).fingerprint,
        identify(manifest, unet="super").fingerprint,
        replace(original, torch_version="0.0").fingerprint,
        replace(original, device_kind="cuda").fingerprint,
        replace(original, source_sha256="00").fingerprint,
    }
    manifest.write_text('{"rows":1}')

    assert len(names | {identify(manifest).fingerprint}) == 7


def test_the_source_hash_covers_networks_and_loss_but_not_tracking() -> None:
    files = {path.as_posix() for path in source_closure(STAGE)}

    assert {"minimagen/models/unet.py", "minimagen/diffusion/loss.py", "minimagen/training/loop.py"} <= files
    assert not [path for path in files if "/tracking/" in path or path.endswith(("cli.py", "journal.py"))]
    assert len(source_sha256(STAGE)) == 64


def test_a_missing_manifest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        identify(tmp_path / "nowhere")
