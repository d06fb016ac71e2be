"""A project that went through all stages, as small as one can be, and that DVC has recorded. Imports no pytest.

Its stages are the real ones, and `dvc repro` runs them again by the checkout's own command line.
"""

import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

from minimagen.config import load_params, read_yaml
from minimagen.stages.curate import run_curate
from minimagen.stages.embed import run_embed
from minimagen.stages.evaluate import run_evaluate
from minimagen.stages.ingest import run_ingest
from minimagen.stages.text_encoder import run_text_encoder
from minimagen.stages.train import run_train
from tests.stages.tiny_project import CHECKOUT, TINY_TRAINING, TINY_UNET

SIZES = {"base": (8, None), "super": (16, 8)}
DVC_CONFIG = """
[core]
    no_scm = True
    analytics = False
    remote = far
['remote "far"']
    url = ../far
"""
GRID = {"every": 4, "num_captions": 2, "num_steps": 1, "guidance_scale": 1.0, "on_copying": "warn"}


def make_finished_project(root: Path) -> Path:
    """Writes the project, runs every stage and lets DVC record all; takes some seconds."""
    shutil.copytree(CHECKOUT / "data/assets", root / "data/assets")
    _write_yaml(root / "params.yaml", _small(read_yaml(CHECKOUT / "experiments/demo.yaml")))
    _write_yaml(root / "dvc.yaml", _without_source_files(read_yaml(CHECKOUT / "dvc.yaml")))
    params = load_params(root / "params.yaml")
    run_ingest(params, "scenes", root)
    run_curate(params, root)
    run_text_encoder(params, root)
    run_embed(params, root)
    for name in params.cascade:
        run_train(params, name, root)
    run_evaluate(params, root)
    (root / ".dvc").mkdir()
    (root / ".dvc/config").write_text(DVC_CONFIG)
    shell(root, "dvc commit --force")
    return root


def shell(root: Path, line: str) -> "subprocess.CompletedProcess[str]":
    """Runs a line in a shell as a user would, in the root of the project; returns what it said."""
    environment = os.environ | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": str(CHECKOUT),
    }
    return subprocess.run(["bash", "-c", line], cwd=root, env=environment, capture_output=True, text=True, check=True)


def _small(document: object) -> object:
    assert isinstance(document, dict)
    document["ingest"]["scenes"] |= {"num_scenes": 60, "size": 16, "objects": ["banana", "frog"], "shard_rows": 60}
    document["ingest"]["scenes"] |= {"backgrounds": ["white", "blue"], "positions": ["center", "left"]}
    for name, (size, low_res_size) in SIZES.items():
        section = document["unets"][name]
        section |= {"image_size": size, "low_res_size": low_res_size}
        section["unet"] |= copy.deepcopy(TINY_UNET)
        section["training"] |= TINY_TRAINING | {"num_steps": 12, "grid": GRID}
        document["sampling"][name] |= {"num_steps": 2, "guidance_scale": 1.0}
    document["evaluate"] |= {"num_captions": 3, "num_training_captions": 2, "num_loss_images": 4}
    document["evaluate"] |= {"num_super_pairs": 3, "num_report_rows": 2, "batch_size": 3}
    return document


def _without_source_files(document: object) -> object:
    assert isinstance(document, dict)
    del document["plots"]
    for stage in document["stages"].values():
        body = stage.get("do", stage)
        body["cmd"] = f"{sys.executable} -m minimagen.cli {body['cmd'].removeprefix('minimagen ')}"
        body["deps"] = [path for path in body["deps"] if not path.startswith("minimagen/")]
    return document


def _write_yaml(path: Path, document: object) -> None:
    with path.open("w") as stream:
        YAML(typ="safe", pure=True).dump(document, stream)
