import subprocess
import sys
from pathlib import Path

import pytest

from tests.layers import violations

OPTIONAL = ("mlflow", "prefect", "dvc")
IMPORT_EVERYTHING = """
import importlib, pkgutil, sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {optional!r} else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import minimagen
for module in pkgutil.walk_packages(minimagen.__path__, "minimagen."):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("mlflow") or not module.name.startswith("minimagen.tracking."):
            raise
"""

CASES = {
    "minimagen/models/unet.py": ("from minimagen.diffusion import loss", "models imports diffusion, both of level 1"),
    "minimagen/text/t5.py": ("def f():\n    import minimagen.sources.scenes", "text imports sources, both of level 1"),
    "minimagen/files.py": ("from minimagen.models.unet import UNet", "files (level 0) imports models (level 1)"),
    "minimagen/training/loop.py": ("from minimagen import stages", "training (level 2) imports stages (level 3)"),
    "minimagen/stages/train.py": ("import prefect", "imports prefect, which only flows may"),
    "minimagen/stages/embed.py": (
        "from mlflow.entities import Metric",
        "imports mlflow, which only minimagen.tracking",
    ),
    "minimagen/datasets/captioned.py": ("import transformers", "imports transformers, which only minimagen.text"),
    "minimagen/cli.py": ("import dvc.repo", "imports dvc, which only flows may"),
    "minimagen/pipeline.py": ("import flows.stages", "imports flows, which only flows may"),
    "minimagen/shapes.py": ("from __future__ import annotations", "from __future__ import"),
    "minimagen/shards.py": ("from .files import write_json", "relative import"),
    "minimagen/training/ema.py": ("import pickle", "imports pickle"),
    "minimagen/training/checkpoint.py": ("torch.load(path, weights_only=False)", "torch.load with weights_only=False"),
    "minimagen/text/tiny.py": ("T5.from_pretrained(a, trust_remote_code=True)", "with trust_remote_code=True"),
    "minimagen/seeding.py": ("torch.manual_seed(0)", "calls torch.manual_seed"),
    "flows/stages.py": ("subprocess.run(command, shell=True)", "with shell=True"),
    "scripts/lock.py": ("eval(text)", "calls eval"),
    "scripts/load.py": ("torch.load(path)", "torch.load without weights_only=True"),
    "tests/test_load.py": ("import pickle", "imports pickle"),
    "tests/text/test_load.py": ("AutoModel.from_pretrained(a, trust_remote_code=True)", "with trust_remote_code=True"),
    "tests/conftest.py": ("document = YAML(typ='unsafe').load(text)", "with typ='unsafe'"),
    "benchmarks/course.py": ("requests.get(url, verify=False)", "with verify=False, which lets anybody answer"),
    "benchmarks/rounds.py": ("subprocess.getoutput(text)", "runs text in a shell"),
    "minimagen/config/params.py": ("import yaml", "imports yaml"),
    "benchmarks/peers.py": ("import transformers", "imports transformers, which only minimagen.text"),
}


def test_library_keeps_its_layers(checkout: Path) -> None:
    assert violations(checkout) == []


@pytest.mark.parametrize("name", CASES)
def test_checker_finds_a_violation(name: str, tmp_path: Path) -> None:
    code, message = CASES[name]
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(f'"""A module."""\n\n{code}\n')

    found = violations(tmp_path)

    assert len(found) == 1
    assert found[0].startswith(f"{name}:")
    assert message in found[0]


def test_checker_allows_what_the_layers_allow(tmp_path: Path) -> None:
    allowed = {
        "minimagen/shards.py": "from minimagen.files import write_json\nfrom minimagen.config import Params",
        "minimagen/models/unet.py": "from minimagen.models.layers import Block\nfrom minimagen.shapes import Images",
        "minimagen/evaluation/report.py": "from minimagen.pipeline import Cascade\nimport minimagen.diffusion.loss",
        "minimagen/tracking/ship.py": "def ship():\n    import mlflow",
        "minimagen/text/t5.py": "import transformers\nmodel = torch.load(path, weights_only=True)",
        "minimagen/training/loop.py": "with torch.random.fork_rng():\n    torch.manual_seed(0)",
        "benchmarks/random_t5.py": "import transformers",
        "benchmarks/.venv-peers/lib/other.py": "import pickle",
        "tests/models/test_unet.py": "torch.manual_seed(0)\nimport mlflow\nos.chdir(folder)",
        "flows/train_cascade.py": "import dvc.repo\nfrom prefect import flow\nfrom flows.stages import run_stage",
    }
    for name, code in allowed.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(code)

    assert violations(tmp_path) == []


def test_library_imports_without_mlflow_prefect_and_dvc(checkout: Path) -> None:
    program = IMPORT_EVERYTHING.format(optional=OPTIONAL)
    result = subprocess.run([sys.executable, "-c", program], cwd=checkout, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
