"""A cascade of three U-Nets goes through every stage, the last one trained on random crops."""

import copy
import json
from pathlib import Path

import pytest

from minimagen.config import Params, read_yaml, validate_params
from minimagen.pipeline import Cascade
from minimagen.saved_model import read_model
from minimagen.stages.curate import run_curate
from minimagen.stages.embed import run_embed
from minimagen.stages.evaluate import run_evaluate
from minimagen.stages.ingest import run_ingest
from minimagen.stages.train import run_train
from minimagen.stages.training_inputs import read_inputs
from minimagen.text.locate import hash_folder, write_record
from minimagen.text.tiny import build_tiny
from tests.stages.tiny_project import CHECKOUT, TINY_TRAINING, TINY_UNET

SIZES = {"base": (8, None), "super": (16, 8), "top": (32, 16)}
CROP_SIZE = 16
GRID = {"every": 4, "num_captions": 2, "num_steps": 1, "guidance_scale": 1.0, "on_copying": "warn"}
CAPTION = "a large frog on a blue background"


def three_stages() -> Params:
    """Returns the demo's parameters, shrunk, with a third stage."""
    document = copy.deepcopy(read_yaml(CHECKOUT / "experiments/demo.yaml"))
    assert isinstance(document, dict)
    document |= {"sources": {"scenes": str(CHECKOUT / "data/assets/sprites.parquet")}, "cascade": list(SIZES)}
    document["ingest"]["scenes"] |= {"num_scenes": 60, "size": 32, "objects": ["banana", "frog"], "shard_rows": 60}
    document["ingest"]["scenes"] |= {"backgrounds": ["white", "blue"], "positions": ["center", "left"]}
    for part in ("unets", "sampling"):
        document[part]["top"] = copy.deepcopy(document[part]["super"])
    for name, (size, low_res_size) in SIZES.items():
        section = document["unets"][name]
        section |= {"image_size": size, "low_res_size": low_res_size}
        section["unet"] |= TINY_UNET | ({"layer_attns": [False, False]} if name == "top" else {})
        section["training"] |= TINY_TRAINING | {"num_steps": 4, "snapshot_epochs": [], "grid": GRID}
        document["sampling"][name] |= {"num_steps": 2, "guidance_scale": 1.0}
    document["unets"]["top"]["training"]["crop_size"] = CROP_SIZE
    document["evaluate"] |= {"num_captions": 3, "num_training_captions": 2, "num_loss_images": 4}
    document["evaluate"] |= {"num_super_pairs": 3, "num_report_rows": 2, "batch_size": 3}
    return validate_params(document, Path("params.yaml"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that went through all stages, to be read only."""
    root, params = tmp_path_factory.mktemp("three"), three_stages()
    run_ingest(params, "scenes", root)
    run_curate(params, root)
    encoder = root / "data/text_encoder"
    encoder.mkdir()
    build_tiny(encoder, [CAPTION])  # As stage text-encoder, but on one caption.
    write_record(encoder, hash_folder(encoder, "tiny", None, "stored"))
    run_embed(params, root)
    for name in params.cascade:
        run_train(params, name, root)
    run_evaluate(params, root)
    return root


def test_every_stage_is_trained_from_the_size_before_it(root: Path) -> None:
    records = {name: read_model(root / "data/models" / name).record for name in SIZES}

    assert {name: (record.image_size, record.low_res_size) for name, record in records.items()} == SIZES


def test_the_last_stage_is_trained_and_validated_on_crops_of_whole_pictures(root: Path) -> None:
    inputs = read_inputs(three_stages(), "top", root, stage=Path(__file__), pictures=root / "runs/cache/pictures")

    for split in (inputs.training, inputs.held_out):
        batch = split.batch([0, 1], seed=0)
        assert batch.images.shape == (2, 3, 32, 32) and batch.trained_size == CROP_SIZE


def test_cascade_json_lists_the_stages_in_order(root: Path) -> None:
    document = json.loads((root / "data/cascade.json").read_bytes())

    assert document["cascade"] == list(SIZES) == list(document["sampling"])


def test_evaluation_measures_every_stage(root: Path) -> None:
    metrics = json.loads((root / "data/eval/metrics.json").read_bytes())

    assert list(metrics["unets"]) == sorted(SIZES)
    assert {name for name, found in metrics["unets"].items() if "psnr" in found} == {"super", "top"}
    assert metrics["sampling"]["num_evaluations"] == 3 * 2
    assert metrics["alignment"]["num_captions"] == metrics["base_alignment"]["num_captions"] == 3
    report = (root / "data/eval/report.html").read_text()
    assert all(f"<h3>{name}</h3>" in report for name in SIZES), "no learning curves"


def test_it_loads_and_draws_every_stage_at_its_size(root: Path) -> None:
    cascade = Cascade.load(root / "data")

    drawn = cascade.sample([CAPTION, ""], seed=0).pixels

    assert {name: pixels.shape for name, pixels in drawn.items()} == {
        name: (2, size, size, 3) for name, (size, _) in SIZES.items()
    }
