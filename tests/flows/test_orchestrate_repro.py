"""The checkout's own pipeline, shrunk: a run of the deployment and `dvc repro` make the same bytes, each once."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.growing_project import CHECKOUT, add_pictures, make_project
from tests.flows.orchestra import PREFECT, Orchestra, environment, orchestra
from tests.stages.tiny_project import files_below
from tests.torture import whole_only

pytestmark = [whole_only, pytest.mark.timeout(600)]
STAGES = ["ingest@folder", "curate", "text-encoder", "embed", "train@base", "train@super", "evaluate"]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed project in which nothing was done; its pictures are committed too, so that a clone has them."""
    root = make_project(tmp_path_factory.mktemp("fresh") / "project", num_steps=12)
    (root / ".gitignore").write_text((root / ".gitignore").read_text().replace("/my_pictures/\n", ""))
    add_pictures(root / "my_pictures", range(60))
    for name in ("prefect.yaml", "pyproject.toml"):
        (root / name).write_bytes((CHECKOUT / name).read_bytes())
    identity = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
    for words in (["add", "--all"], ["commit", "--quiet", "-m", "pictures"]):
        subprocess.run(["git", *identity, *words], cwd=root, check=True)
    return root


@pytest.fixture(scope="module")
def playing(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orchestra]:
    root = clone(fresh, tmp_path_factory.mktemp("orchestrated") / "project")
    with orchestra(root) as running:
        yield running


def clone(source: Path, target: Path) -> Path:
    subprocess.run(["git", "clone", "--quiet", str(source), str(target)], check=True)
    return target


def repro(root: Path) -> None:
    dvc = [str(PREFECT.with_name("dvc")), "repro", "--quiet"]
    subprocess.run(dvc, cwd=root, env=environment(root), check=True)


def watched(playing: Orchestra) -> str:
    """Does what a user does in another terminal, and returns what is said."""
    command = [PREFECT, "deployment", "run", "train-cascade", "--watch"]
    surroundings = environment(playing.root)
    result = subprocess.run(command, cwd=playing.root, env=surroundings, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def models(root: Path) -> dict[str, bytes]:
    return files_below(root / "data/models") | files_below(root / "data/checkpoints")


def test_a_run_of_the_deployment_and_dvc_repro_end_in_the_same_lock_and_models(
    playing: Orchestra, fresh: Path, tmp_path: Path
) -> None:
    assert "Completed" in watched(playing)
    assert playing.tasks(playing.runs("train-cascade")[-1]) == dict.fromkeys(STAGES, "Ran") | {"summary": "Completed"}

    other = clone(fresh, tmp_path / "other")
    repro(other)
    assert (other / "dvc.lock").read_bytes() == (playing.root / "dvc.lock").read_bytes()
    assert models(other) == models(playing.root) != {}


def test_run_again_it_starts_nothing(playing: Orchestra) -> None:
    before = (playing.root / "dvc.lock").read_bytes()
    run = playing.trigger()
    assert playing.wait_for(run) == "Completed"
    assert playing.tasks(run) == dict.fromkeys(STAGES, "UpToDate") | {"summary": "Completed"}
    assert "Running stage" not in playing.log(run)
    assert (playing.root / "dvc.lock").read_bytes() == before


def test_after_dvc_repro_it_starts_nothing(playing: Orchestra) -> None:
    params = playing.root / "params.yaml"
    document = params.read_text()
    changed = document.replace("seed: 0", "seed: 1")
    assert changed != document
    params.write_text(changed)
    repro(playing.root)

    run = playing.trigger()
    assert playing.wait_for(run) == "Completed"
    assert playing.tasks(run) == dict.fromkeys(STAGES, "UpToDate") | {"summary": "Completed"}
    assert "Running stage" not in playing.log(run)
