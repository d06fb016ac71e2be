"""A comparison of experiments on a project whose stages only act."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from flows.compare import compare_experiments
from flows.run_compare import main
from tests.flows.acted_project import make_acted_project, rows, supply

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_acted_project(tmp_path_factory.mktemp("compared") / "project")
    supply(root, rows(30), 20.0)
    return root


def output_of(root: Path, *command: str) -> str:
    """Returns what a command says in a project."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "MINIMAGEN_TRACKING": "on"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True).stdout


def test_every_combination_is_an_experiment_and_a_row(root: Path) -> None:
    told = output_of(root, sys.executable, "-m", "minimagen.cli", "compare", "dim=16", "num_steps=10,20")

    assert told.count("Running stage 'train'") == 2 and told.count("Running stage 'ingest'") == 1
    (table,) = (root / "runs/compare").glob("*/table.csv")
    found = list(csv.DictReader(table.read_text().splitlines()))
    assert [(row["dim"], row["num_steps"]) for row in found] == [("16", "10"), ("16", "20")]
    names = [f"dim-16--num_steps-{row['num_steps']}" for row in found]
    assert sorted(output_of(root, sys.executable, "-m", "dvc", "exp", "list", "--name-only").split()) == names
    client = MlflowClient(tracking_uri=f"sqlite:///{root / 'mlflow.db'}")
    (kept,) = client.search_runs([one.experiment_id for one in client.search_experiments()])
    files = [file.path for file in client.list_artifacts(kept.info.run_id)]
    assert sorted(files) == ["comparison.html", "figure.svg", "table.csv", "table.md"]
    assert output_of(root, "git", "status", "--porcelain") == ""


@pytest.mark.usefixtures("prefect_server")
def test_flow_does_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)

    folder = Path(compare_experiments({"base.dim": [24]}))

    assert (folder / "table.md").read_text().startswith("# 1 experiments\n")
    assert (folder / "figure.svg").exists()


def test_grid_that_breaks_a_rule_is_told_before_anything_runs(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "argv", ["compare", "dim=9"])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 2
    out, errors = capsys.readouterr()
    assert out == "" and "dim-9: params.yaml: unets.base.unet: dim 9 is not a multiple of 8" in errors
