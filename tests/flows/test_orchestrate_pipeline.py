"""The checkout's own pipeline, shrunk, on a real server: what its deployments make, and when they do nothing."""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from minimagen.tracking.registry import CHAMPION, Registry
from tests.contents import files_below
from tests.flows.growing_project import CHECKOUT, add_pictures, make_project
from tests.flows.orchestra import PREFECT, Orchestra, environment, orchestra, until
from tests.torture import whole_only

pytestmark = [whole_only, pytest.mark.timeout(900)]
STAGES = ["ingest@folder", "curate", "text-encoder", "embed", "train@base", "train@super", "evaluate"]


@pytest.fixture(scope="module")
def playing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orchestra]:
    """A committed project in which nothing was done."""
    root = make_project(tmp_path_factory.mktemp("orchestrated") / "project", num_steps=300)
    add_pictures(root / "my_pictures", range(80))
    for name in ("prefect.yaml", "pyproject.toml"):
        (root / name).write_bytes((CHECKOUT / name).read_bytes())
    with orchestra(root) as running:
        yield running


def git(root: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True).stdout


def repro(root: Path) -> None:
    dvc = [str(PREFECT.with_name("dvc")), "repro", "--quiet"]
    subprocess.run(dvc, cwd=root, env=environment(root), check=True)


def models(root: Path) -> dict[str, str]:
    return files_below(root / "data/models") | files_below(root / "data/checkpoints")


def starts_nothing(playing: Orchestra) -> bool:
    """Lets the deployment run and returns whether it found all stages done."""
    run = playing.trigger()
    assert playing.wait_for(run) == "Completed", playing.log(run)
    are_current = playing.tasks(run) == dict.fromkeys(STAGES, "UpToDate") | {"summary": "Completed"}
    return are_current and "Running stage" not in playing.log(run)


def retrain(playing: Orchestra, snapshot: str, outcome: str) -> str:
    """Lets the schedule start a run now and returns what it said, once it is completed and has told its outcome."""
    num_before = len(playing.runs("retrain"))
    playing.schedule("retrain", datetime.now(UTC) + timedelta(seconds=1), snapshot=snapshot)
    run = until(lambda: playing.runs("retrain")[num_before:], "a scheduled run")[0]
    assert playing.wait_for(run) == "Completed", playing.log(run)
    return playing.log_with(run, outcome)


def champion(playing: Orchestra) -> int:
    found = Registry(playing.root, "folder").find(CHAMPION)
    assert found is not None
    return found.number


def test_a_run_of_the_deployment_and_dvc_repro_end_in_the_same_lock_and_models(
    playing: Orchestra, tmp_path: Path
) -> None:
    command = [str(PREFECT), "deployment", "run", "train-cascade", "--watch"]
    subprocess.run(command, cwd=playing.root, env=environment(playing.root), check=True, capture_output=True)
    (run,) = playing.runs("train-cascade")
    assert playing.tasks(run) == dict.fromkeys(STAGES, "Ran") | {"summary": "Completed"}

    git(playing.root, "clone", "--quiet", str(playing.root), str(tmp_path / "fresh"))
    (tmp_path / "fresh/my_pictures").symlink_to(playing.root / "my_pictures")
    repro(tmp_path / "fresh")
    assert (tmp_path / "fresh/dvc.lock").read_bytes() == (playing.root / "dvc.lock").read_bytes()
    assert models(tmp_path / "fresh") == models(playing.root) != {}


def test_run_again_it_starts_nothing(playing: Orchestra) -> None:
    before = (playing.root / "dvc.lock").read_bytes()
    assert starts_nothing(playing)
    assert (playing.root / "dvc.lock").read_bytes() == before


def test_after_dvc_repro_it_starts_nothing(playing: Orchestra) -> None:
    params = playing.root / "params.yaml"
    text = params.read_text()
    params.write_text(text.replace("num_captions: 8", "num_captions: 7"))
    assert params.read_text() != text
    repro(playing.root)
    assert starts_nothing(playing)
    params.write_text(text)


def test_the_scheduled_retraining_promotes_rejects_or_does_nothing_and_says_why(playing: Orchestra) -> None:
    folder = playing.root / "my_pictures"
    retrain(playing, "first", "promoted: there was no champion")

    add_pictures(folder, range(80, 320))
    retrain(playing, "three-times-as-many", "promoted: gain +")
    assert champion(playing) == 2

    log = retrain(playing, "none-new", "no new data: version 2 was trained on these very rows")
    assert "Running stage 'train" not in log

    add_pictures(folder, range(5000, 5240), are_captions_shuffled=True)
    log = retrain(playing, "lying-captions", "rejected: gain -")
    assert "unets.base.denoising worsened" in log
    assert champion(playing) == 2
    tags = ["retrained/first-v1", "retrained/lying-captions-v3", "retrained/three-times-as-many-v2"]
    assert git(playing.root, "tag").split() == tags
