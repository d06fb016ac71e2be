"""The retraining of a project whose stages only act, once through all that can happen."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from flows.gate import page
from flows.record import bring_back
from flows.retrain import Retrained, retrain, steps_to_rows
from flows.worktree import worktree
from minimagen.evaluation.gate import Decision, GuardResult
from minimagen.stages.promote import RECORD, Verdict
from minimagen.tracking.registry import Registry
from tests.canary import CANARY, places_of
from tests.flows.acted_project import make_acted_project, rows, supply

pytestmark = pytest.mark.long

ALIASES = ("champion", "previous", "challenger")


class Trial:
    """A project that is retrained again and again, and what each time came to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.registry = Registry(root, "folder")
        self.results: list[Retrained] = []
        self.aliases: list[Mapping[str, int]] = []

    def retrain(self, snapshot: str) -> None:
        here = Path.cwd()
        os.chdir(self.root)
        try:
            self.results.append(retrain(snapshot=snapshot))
        finally:
            os.chdir(here)
        found = {alias: self.registry.find(alias) for alias in ALIASES}
        self.aliases.append({alias: version.number for alias, version in found.items() if version is not None})

    def git(self, *arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=self.root, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory, prefect_server: None) -> Iterator[Trial]:
    """Four retrainings: the first, better with more rows, no new rows, worse with more rows."""
    root = make_acted_project(tmp_path_factory.mktemp("trial") / "project")
    trial = Trial(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMDB_TOKEN", CANARY)
        _run(trial)
    yield trial
    shutil.rmtree(root)


def _run(trial: Trial) -> None:
    for snapshot, num_rows, skill in (("s1", 30, 20.0), ("s2", 40, 22.0), ("s3", 40, 25.0), ("s4", 50, 21.0)):
        supply(trial.root, rows(num_rows), skill)
        trial.retrain(snapshot)


def test_no_key_is_in_git_dvc_mlflow_or_anything_else(trial: Trial) -> None:
    assert (trial.root / "mlflow.db").exists()
    assert list((trial.root / ".dvc/cache").rglob("*.dir"))
    assert places_of(trial.root) == set()


def test_new_rows_promote_or_are_rejected_and_no_new_rows_do_nothing(trial: Trial) -> None:
    assert [(one.outcome, one.version) for one in trial.results] == [
        ("promoted", 1),
        ("promoted", 2),
        ("no new data", 2),
        ("rejected", 3),
    ]
    assert trial.aliases == [
        {"champion": 1},
        {"champion": 2, "previous": 1},
        {"champion": 2, "previous": 1},
        {"champion": 2, "previous": 1, "challenger": 3},
    ]


def test_it_says_why(trial: Trial) -> None:
    first, better, none, worse = trial.results
    assert first.reasons == ("there was no champion",)
    assert better.reasons[0].startswith("gain +") and "on 30 samples" in better.reasons[0]
    assert none.reasons == ("version 2 was trained on these very rows",)
    assert worse.reasons[0].startswith("gain -") and worse.reasons[0].endswith("not above the 0.05 dB asked for")
    assert worse.reasons[1].startswith("unets.base.denoising worsened from 22.")


def test_each_verdict_is_a_commit_with_lock_and_parameters_beside_the_users_work(trial: Trial) -> None:
    assert [one.tag for one in trial.results] == ["retrained/s1-v1", "retrained/s2-v2", None, "retrained/s4-v3"]
    for tag, snapshot in (("retrained/s2-v2", "s2"), ("retrained/s4-v3", "s4")):
        assert f"snapshot: {snapshot}\n" in trial.git("show", f"{tag}:params.yaml")
        assert "data/curated" in trial.git("show", f"{tag}:dvc.lock")
    assert "version 3 rejected" in trial.git("log", "-1", "--format=%s", "retrained")
    assert trial.git("status", "--porcelain") == ""
    assert trial.git("worktree", "list").count("\n") == 1
    assert not (trial.root / "data/curated").exists() and not (trial.root / "dvc.lock").exists()


def test_data_and_models_of_a_commit_come_back_from_the_remote_alone(trial: Trial, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    trial.git("clone", "--quiet", "--branch", "retrained/s2-v2", str(trial.root), str(clone))
    commands = [["config", "--local", "remote.local.url", str(trial.root / ".dvc-remote")], ["pull", "--quiet"]]
    for command in commands:
        subprocess.run([sys.executable, "-m", "dvc", *command], cwd=clone, check=True)

    loaded = trial.registry.load("2", tmp_path / "version 2")

    assert loaded.tags[RECORD] == "retrained/s2-v2"
    for name in ("cascade.json", "models/base/model.safetensors", "eval/scores.json"):
        assert (clone / "data" / name).read_bytes() == (tmp_path / "version 2" / name).read_bytes()


def test_the_next_retraining_starts_with_what_was_fetched_before(trial: Trial) -> None:
    with worktree(trial.root, "next") as project:
        bring_back(trial.root, project)
        assert json.loads((project / "data/raw/rows.json").read_text()) == rows(50)


def test_plan_up_to_the_rows_leaves_training_out(trial: Trial) -> None:
    assert [step.stage for step in steps_to_rows(trial.root)] == ["ingest", "curate"]


def test_page_of_a_verdict_shows_every_number() -> None:
    guard = GuardResult("unets.super.psnr", 24.0, None, 23.5, False)
    decision = Decision(False, ("too little",), 0.01, -0.02, 40, 0, (guard,))

    assert page(Verdict(4, 3, decision)).splitlines() == [
        "# Version 4 is rejected",
        "",
        "The champion was version 3.",
        "",
        "- too little",
        "",
        "| guarded | champion | candidate | limit | held |",
        "|---|---|---|---|---|",
        "| unets.super.psnr | 24 |  | 23.5 | False |",
    ]
