"""A project like ``growing_project``, whose stages only act: what they would have trained comes from a file.

``my_pictures/rows.json`` holds the rows (key -> caption), ``my_pictures/skill`` how well the cascade does (dB).
"""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.flows.growing_project import make_project
from tests.small_cascade import write_small_cascade

PIPELINE = """
stages:
  ingest:
    cmd: mkdir -p data/raw && cp my_pictures/rows.json data/raw/
    deps: [my_pictures/rows.json]
    params: [ingest.snapshot]
    outs: [data/raw]
  curate:
    cmd: python stages.py curate
    deps: [data/raw]
    params: [ingest.snapshot]
    outs: [data/curated]
  train:
    cmd: python stages.py train
    deps: [data/curated, my_pictures/skill]
    params: [unets]
    outs: [data/cascade.json, data/models, data/text_encoder, data/eval/scores.json]
    metrics: [{data/eval/metrics.json: {cache: false}}]
"""
STAGES = """
import json, random, shutil, sys
from pathlib import Path

import pyarrow
from pyarrow.parquet import write_table
from ruamel.yaml import YAML

from minimagen.files import sha256_file, write_json
from minimagen.manifest import Manifest, write_manifest
from minimagen.shards import ShardFile


def curate():
    params = YAML(typ="safe", pure=True).load(Path("params.yaml").read_text())
    rows = json.loads(Path("data/raw/rows.json").read_text())
    path = Path("data/curated") / f"{params['ingest']['snapshot']}.parquet"
    path.parent.mkdir(parents=True)
    columns = {"key": list(rows), "sha256": list(rows), "text": list(rows.values())}
    columns |= {"captions": [[text] for text in rows.values()], "split": ["validation"] * len(rows)}
    write_table(pyarrow.table(columns), path)
    files = (ShardFile(path.name, len(rows), path.stat().st_size, sha256_file(path)),)
    write_manifest(path.parent, Manifest("curated", {}, {}, {}, "1", files))


def train():
    params = YAML(typ="safe", pure=True).load(Path("params.yaml").read_text())
    rows = json.loads(Path("data/raw/rows.json").read_text())
    skill = float(Path("my_pictures/skill").read_text()) + params["unets"]["base"]["unet"]["dim"] / 100
    shutil.copytree("trained", "data", dirs_exist_ok=True)
    cascade = json.loads(Path("data/cascade.json").read_text())
    cascade["sampling"]["base"]["num_steps"] = round(10 * skill)
    write_json(Path("data/cascade.json"), cascade)
    samples = [
        {"key": key, "caption": text, "picture": key, "psnr": {"base": skill + random.Random(f"{key}{skill}").random()}}
        for key, text in rows.items()
    ]
    write_json(Path("data/eval/scores.json"), {"denoising": {"times": [0.5], "samples": samples}})
    write_json(Path("data/eval/metrics.json"), {"unets": {"base": {"loss": 1 / skill}, "super": {"loss": 0.5}}})


globals()[sys.argv[1]]()
"""


def make_acted_project(root: Path) -> Path:
    """Writes and commits the project and returns its root; it has no rows yet."""
    write_small_cascade(root / "trained")
    (root / "stages.py").write_text(STAGES)
    make_project(root, num_steps=10)
    (root / "dvc.yaml").write_text(PIPELINE)
    identity = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
    subprocess.run(["git", *identity, "commit", "--quiet", "-am", "acted stages"], cwd=root, check=True)
    return root


def supply(root: Path, rows: Mapping[str, str], skill: float) -> None:
    """Changes what the source gives, and how well a cascade that is trained on it does."""
    (root / "my_pictures/rows.json").write_text(json.dumps(rows))
    (root / "my_pictures/skill").write_text(str(skill))


def rows(number: int) -> dict[str, str]:
    """Returns so many rows."""
    return {f"folder:{index}": f"picture number {index}" for index in range(number)}
